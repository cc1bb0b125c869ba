"""One layer of Llama-2-7b's shapes, forward and gradients: Graft beside PyTorch in f32.

Writes a model of one such layer and 256 words (graft synth), an adapter of rank 16 on all its linears with random A and B,
and one row of random tokens. Graft takes one step of plain SGD at rate 1 without clipping, so the adapter's change is its
gradient; PyTorch and PEFT compute the same in f32 from the same bf16 weights. Prints the loss of both sides and, by tensor,
|g - g_torch| / |g_torch|; exit code 1 beyond the tolerance: 1e-4 in f32, 0.03 in bf16, whose numbers have 8 bits (a rounding
is 0.2 to 0.4 %, and a gradient passes some ten of them).
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TOLERANCES = {"f32": 1e-4, "bf16": 0.03}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--folder", type=Path, required=True, help="where model, adapters and rows are written (some 900 MB)")
parser.add_argument("--graft", default="bun packages/cli/src/main.ts", help="how graft is called (default %(default)s)")
parser.add_argument("--tokens", type=int, default=128)
parser.add_argument("--threads", type=int, default=1)
args = parser.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(1)
args.folder.mkdir(parents=True, exist_ok=True)
model_folder, start, rows = args.folder / "model", args.folder / "start", args.folder / "rows.jsonl"


def graft(*words):
    subprocess.run([*args.graft.split(), *map(str, words)], check=True, stdout=subprocess.DEVNULL)


config = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 1,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 256,
}
(args.folder / "shapes.json").write_text(json.dumps(config))
if not (model_folder / "config.json").exists():
    graft("synth", "--config", args.folder / "shapes.json", "--out", model_folder)

base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="eager")
lora = LoraConfig(r=16, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
fresh = get_peft_model(base, lora)
with torch.no_grad():
    for name, p in fresh.named_parameters():
        if "lora_" in name:
            p.normal_(0, 0.02)
fresh.save_pretrained(start)
base = fresh.unload()
ids = torch.randint(3, 256, (1, args.tokens))
rows.write_text(json.dumps({"input_ids": ids[0].tolist()}) + "\n")

model = PeftModel.from_pretrained(base, start, is_trainable=True)
out = model(input_ids=ids, labels=ids)
out.loss.backward()
wanted = {
    name.replace(".default.weight", ".weight"): p.grad for name, p in model.named_parameters() if p.requires_grad
}
before = load_file(start / "adapter_model.safetensors")

failed = False
for compute, tolerance in TOLERANCES.items():
    trained = args.folder / f"trained-{compute}"
    graft(
        *("train", "--model", model_folder, "--adapter", start, "--data", rows, "--out", trained, "--steps", 1),
        *("--batch-size", 1, "--optimizer", "sgd", "--momentum", 0, "--learning-rate", 1, "--max-grad-norm", 0),
        *("--compute", compute, "--on-bad-step", "stop"),
    )
    after = load_file(trained / "adapter_model.safetensors")
    loss = json.loads((trained / "metrics.jsonl").read_text().splitlines()[0])["loss"]
    print(f"{compute}: loss {loss:.6f}, PyTorch's {out.loss.item():.6f}")
    worst = abs(loss - out.loss.item()) / out.loss.item()
    for name, g in wanted.items():
        error = ((before[name] - after[name] - g).norm() / g.norm()).item()
        worst = max(worst, error)
        print(f"  {error:.2e}  {name.removeprefix('base_model.model.model.')}")
    verdict = "within" if worst <= tolerance else "BEYOND"
    failed |= worst > tolerance
    print(f"{compute}: at most {worst:.2e}, {verdict} {tolerance}")
sys.exit(1 if failed else 0)
