"""
Compares a folder that `graft quantize` wrote with what transformers and bitsandbytes make of the same source.

  python check_quantized.py --model SOURCE --quantized FOLDER

The source is loaded with the quantization_config that stands in FOLDER's config.json, saved, and compared: the keys of
config.json, and every tensor's dtype, shape and bytes. Then both folders are loaded anew and their logits on a few random
token ids compared, which must be equal bit for bit. Exit code 1 where anything differs.
"""
import argparse, json, os, tempfile

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils import logging


def tensors(folder):
    file = safe_open(os.path.join(folder, "model.safetensors"), "pt")
    return {name: file.get_tensor(name) for name in file.keys()}


def raw(tensor):
    return tensor.contiguous().flatten().view(torch.uint8)


def config_of(folder):
    with open(os.path.join(folder, "config.json")) as file:
        return json.load(file)


parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--quantized", required=True)
parser.add_argument("--threads", type=int, default=1)
args = parser.parse_args()
torch.set_num_threads(args.threads)
logging.disable_progress_bar()

ours = config_of(args.quantized)
said = ours["quantization_config"]
wanted = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type=said["bnb_4bit_quant_type"],
    bnb_4bit_use_double_quant=said["bnb_4bit_use_double_quant"],
    bnb_4bit_compute_dtype=said["bnb_4bit_compute_dtype"],
    llm_int8_skip_modules=said["llm_int8_skip_modules"],
)
dtype = getattr(torch, ours.get("dtype") or ours["torch_dtype"])
load = dict(dtype=dtype, device_map="cpu", attn_implementation="eager")
wrong = []
with tempfile.TemporaryDirectory() as folder:
    model = AutoModelForCausalLM.from_pretrained(args.model, quantization_config=wanted, **load)
    model.save_pretrained(folder)
    theirs = config_of(folder)
    for key in sorted(set(ours["quantization_config"]) | set(theirs["quantization_config"])):
        a, b = ours["quantization_config"].get(key), theirs["quantization_config"].get(key)
        if a != b:
            wrong.append(f"quantization_config.{key}: {a} here, {b} by transformers")
    a, b = tensors(args.quantized), tensors(folder)
    if set(a) != set(b):
        wrong.append(f"tensors of one only: {sorted(set(a) ^ set(b))[:10]}")
    for name in sorted(set(a) & set(b)):
        same = a[name].dtype == b[name].dtype and a[name].shape == b[name].shape
        if not same or not torch.equal(raw(a[name]), raw(b[name])):
            wrong.append(f"{name}: {a[name].dtype} {list(a[name].shape)} here, {b[name].dtype} {list(b[name].shape)} there, or other bytes")
    print(f"{len(a)} tensors compared, {sum(t.numel() * t.element_size() for t in a.values())} bytes")
    ids = torch.randint(0, ours["vocab_size"], (2, 24), generator=torch.Generator().manual_seed(0))
    logits = []
    for path in (args.quantized, folder):
        loaded = AutoModelForCausalLM.from_pretrained(path, **load).eval()
        with torch.no_grad():
            logits.append(loaded(ids).logits.float())
        del loaded
    apart = (logits[0] - logits[1]).abs().max().item()
    print(f"logits {list(logits[0].shape)}: largest difference {apart}")
    if apart != 0:
        wrong.append(f"logits differ by {apart}")
for line in wrong:
    print(line)
print("different" if wrong else "equal")
raise SystemExit(1 if wrong else 0)
