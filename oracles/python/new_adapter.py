"""A fresh PEFT LoRA adapter (B zero), for Graft and PEFT to start from alike.

usage: new_adapter.py --model FOLDER --out FOLDER [--rank 16] [--alpha 16] [--target all-linear | a,b,c | REGEX] [--rslora] [--seed 0]
"""
import argparse
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--out", required=True)
parser.add_argument("--rank", type=int, default=16)
parser.add_argument("--alpha", type=float, default=16)
parser.add_argument("--target", default="all-linear")
parser.add_argument("--rslora", action="store_true")
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
torch.manual_seed(options.seed)
target = options.target.split(",") if "," in options.target else options.target
model = get_peft_model(model, LoraConfig(r=options.rank, lora_alpha=options.alpha, lora_dropout=0.0, target_modules=target, use_rslora=options.rslora,
                                         bias="none", task_type="CAUSAL_LM"))
model.save_pretrained(options.out)
print(f"{sum(p.numel() for p in model.parameters() if p.requires_grad)} trainable numbers in {options.out}")
