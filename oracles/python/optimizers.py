"""
Five steps of PyTorch's and bitsandbytes' optimisers on the CPU from random numbers, for paged-optim's test to follow.

  python optimizers.py --out vectors.safetensors [--seed 1] [--size 10000]
  GRAFT_OPTIMIZER_VECTORS=vectors.safetensors bun test packages/paged-optim/src/golden.test.ts

With --exact-root torch's optimisers get a correctly rounded square root (by f64) in place of MKL's, which is a unit off for
one number in six: `GRAFT_EXACT_ROOT=1` before the test then asks for the bits of every parameter.

Gradients reach from 1e-12 to 1e3, some are 0 and one block has none at all. After step s `<optimizer>.<s>.p` holds the
parameters, `.state1`, `.absmax1` … or torch's names the state.
"""
import argparse

import bitsandbytes as bnb
import numpy as np
import torch
from safetensors.torch import save_file

parser = argparse.ArgumentParser()
parser.add_argument("--out", required=True)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--size", type=int, default=10000)
parser.add_argument("--exact-root", action="store_true")
args = parser.parse_args()

if args.exact_root:
    torch.Tensor.sqrt = lambda x: torch.from_numpy(np.sqrt(x.double().numpy())).to(x.dtype)

torch.set_num_threads(1)
random = torch.Generator().manual_seed(args.seed)
start = torch.randn(args.size, generator=random) * torch.pow(10.0, torch.randint(-4, 2, (args.size,), generator=random))
gradients = []
for _ in range(5):
    gradient = torch.randn(args.size, generator=random) * torch.pow(
        10.0, torch.randint(-12, 4, (args.size,), generator=random).float()
    )
    gradient[torch.rand(args.size, generator=random) < 0.05] = 0
    gradient[256:512] = 0
    gradients.append(gradient)

adamw = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
lion = dict(lr=1e-4, betas=(0.9, 0.99), weight_decay=0.01)
sgd = dict(lr=1e-2, momentum=0.9, weight_decay=0.01)
makers = {
    "torch.AdamW": lambda p: torch.optim.AdamW(p, foreach=False, fused=False, **adamw),
    "torch.Adam": lambda p: torch.optim.Adam(p, foreach=False, fused=False, **adamw),
    "torch.SGD": lambda p: torch.optim.SGD(p, foreach=False, **sgd),
    "bnb.AdamW8bit": lambda p: bnb.optim.AdamW8bit(p, min_8bit_size=1, **adamw),
    "bnb.Lion8bit": lambda p: bnb.optim.Lion8bit(p, min_8bit_size=1, **lion),
    "bnb.Lion32bit": lambda p: bnb.optim.Lion32bit(p, **lion),
    "bnb.SGD8bit": lambda p: bnb.optim.SGD8bit(p, min_8bit_size=1, **sgd),
}
kept = {"p0": start, **{f"grad.{i}": g for i, g in enumerate(gradients)}}
for name, make in makers.items():
    parameter = torch.nn.Parameter(start.clone())
    optimizer = make([parameter])
    for step, gradient in enumerate(gradients):
        parameter.grad = gradient.clone()
        optimizer.step()
        kept[f"{name}.{step}.p"] = parameter.detach().clone()
        for key, value in optimizer.state[parameter].items():
            if torch.is_tensor(value) and value.numel() > 1 and not key.startswith("qmap"):
                kept[f"{name}.{step}.{key}"] = value.detach().clone()
    for key in ("qmap1", "qmap2"):
        if key in optimizer.state[parameter]:
            kept[f"{name}.{key}"] = optimizer.state[parameter][key].detach().clone()
save_file({name: value.contiguous() for name, value in kept.items()}, args.out)
