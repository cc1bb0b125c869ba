"""Does PEFT compute from an adapter folder the logits that `graft logits` wrote?

Prints one JSON line: max|Δ|, max|logit| of PEFT, their ratio, the places whose most likely token differs and how far apart PEFT's two
best are there at most, and how much the adapter changes the base's logits (an adapter that does nothing proves nothing: that fails too).
Exit code 0: ratio within --tolerance; 1: not; 2: the files do not fit.

usage: check_adapter.py --model FOLDER --adapter FOLDER --ids F.safetensors --logits F.safetensors [--tolerance 1e-5] [--merge] [--threads 1]
       --ids: input_ids int64 [batch, tokens]; --logits: logits f32 [batch, tokens, vocab]; --merge: compare with the merged model
"""
import argparse, json, sys
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--adapter", required=True)
parser.add_argument("--ids", required=True)
parser.add_argument("--logits", required=True)
parser.add_argument("--tolerance", type=float, default=1e-5)
parser.add_argument("--merge", action="store_true")
parser.add_argument("--threads", type=int, default=1)
options = parser.parse_args()
torch.set_num_threads(options.threads)


def unfit(message: str):
    print(message, file=sys.stderr)
    sys.exit(2)


def logits_of(model, input_ids: torch.Tensor) -> torch.Tensor:
    """Row by row, so that a long batch needs no more memory than one row."""
    with torch.no_grad(): return torch.cat([model(input_ids=row[None], use_cache=False).logits for row in input_ids])


ids = load_file(options.ids).get("input_ids")
theirs = load_file(options.logits).get("logits")
if ids is None or ids.dim() != 2: unfit(f"{options.ids}: no input_ids [batch, tokens]")
if theirs is None: unfit(f"{options.logits}: no tensor named logits")
model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32, attn_implementation="eager").eval()
base = logits_of(model, ids)
if theirs.shape != base.shape: unfit(f"{options.logits}: logits are {list(theirs.shape)}, the model's {list(base.shape)}")
model = PeftModel.from_pretrained(model, options.adapter).eval()
if options.merge: model = model.merge_and_unload()
ours = logits_of(model, ids)
difference, largest = (ours - theirs.float()).abs().max().item(), ours.abs().max().item()
best_two = ours.topk(2, dim=-1).values
other = ours.argmax(-1) != theirs.argmax(-1)
gaps = (best_two[..., 0] - best_two[..., 1])[other]
effect = (ours - base).abs().max().item()
passed = difference <= options.tolerance * largest and effect > 100 * options.tolerance * largest
print(json.dumps({"maxAbsDifference": difference, "maxAbsLogit": largest, "ratio": difference / largest, "otherBestToken": int(other.sum()), "largestGapThere": gaps.max().item() if len(gaps) else 0.0,
                  "places": ours.shape[0] * ours.shape[1], "adapterChangesLogitsBy": effect, "tolerance": options.tolerance, "passed": passed}))
sys.exit(0 if passed else 1)
