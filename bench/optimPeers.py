"""The same update by PyTorch and bitsandbytes on the CPU: seconds a step, best of the rounds, as JSON.

optimPeers.py PARAMETERS THREADS ROUNDS
"""
import json
import sys
import time

import bitsandbytes as bnb
import torch

size, threads, rounds = map(int, sys.argv[1:4])
torch.set_num_threads(threads)
settings = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)


def seconds(make):
    parameter = torch.nn.Parameter(torch.randn(size) * 0.02)
    parameter.grad = torch.randn(size) * 1e-3
    optimizer = make([parameter])
    optimizer.step()
    best = float("inf")
    for _ in range(rounds):
        since = time.perf_counter()
        optimizer.step()
        best = min(best, time.perf_counter() - since)
    return best


print(json.dumps({
    "torch AdamW": seconds(lambda p: torch.optim.AdamW(p, foreach=False, fused=False, **settings)),
    "torch AdamW, fused": seconds(lambda p: torch.optim.AdamW(p, fused=True, **settings)),
    "bitsandbytes AdamW8bit": seconds(lambda p: bnb.optim.AdamW8bit(p, **settings)),
    "bitsandbytes Lion8bit": seconds(lambda p: bnb.optim.Lion8bit(p, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.01)),
}))
