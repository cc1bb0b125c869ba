"""Rates of bitsandbytes on this CPU for `bun run bench nf4`: one JSON object on standard output.

    python oracles/python/nf4_rates.py THREADS

W is [4096, 4096]. Parameters a second of quantize_4bit and of dequantize_4bit; operations a second of Linear4bit over 512
tokens, forward and backward; milliseconds of one row. Best of several. The bench sets glibc's MALLOC_MMAP_MAX_=0 and
MALLOC_TRIM_THRESHOLD_, so that buffers are used again, as its own are: bitsandbytes is faster with them.
"""

import json
import sys
import time

import bitsandbytes as bnb
import bitsandbytes.functional as functional
import torch

torch.set_num_threads(int(sys.argv[1]))
SIDE, TOKENS = 4096, 512
torch.manual_seed(1)


def best(rounds, body):
    body()
    least = float("inf")
    for _ in range(rounds):
        at = time.perf_counter()
        body()
        least = min(least, time.perf_counter() - at)
    return least


rates = {"version": bnb.__version__}
for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16), ("f16", torch.float16)):
    weight = (torch.randn(SIDE, SIDE) * 0.02).to(dtype)
    for kind in ("nf4", "fp4"):
        rates[f"quantise {name} {kind}"] = SIDE * SIDE / best(
            2, lambda: functional.quantize_4bit(weight, blocksize=64, quant_type=kind)
        )
    if name == "f16":
        continue
    packed, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    rates[f"dequantise {name}"] = SIDE * SIDE / best(9, lambda: functional.dequantize_4bit(packed, state))
    layer = bnb.nn.Linear4bit(SIDE, SIDE, bias=False, compute_dtype=dtype, quant_type="nf4")
    layer.weight = bnb.nn.Params4bit(weight, requires_grad=False, quant_type="nf4")
    layer = layer.to("cpu")
    x = torch.randn(TOKENS, SIDE, dtype=dtype, requires_grad=True)
    flops = 2 * TOKENS * SIDE * SIDE
    rates[f"forward {name}"] = flops / best(3, lambda: layer(x))
    y = layer(x)
    dy = torch.randn_like(y)
    rates[f"backward {name}"] = flops / best(3, lambda: torch.autograd.grad(y, x, dy, retain_graph=True))
    one = torch.randn(1, SIDE, dtype=dtype)
    with torch.no_grad():
        rates[f"row {name}"] = best(9, lambda: layer(one)) * 1e3
print(json.dumps(rates))
