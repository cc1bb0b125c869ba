"""Trains an adapter with torch and PEFT on rows of tokens, f32, and prints one JSON line a step with the fields of Graft's metrics.jsonl:
step, loss (before the update), gradNorm (before clipping), learningRate, tokens. With --compare it then judges Graft's own file against them.

Rows are taken in order, --batch-size × --grad-accumulation a step, wrapping around at the end; loss and gradients are means over the supervised
tokens of the whole step (a label counts where it is not -100 and not a row's first). The learning rate is transformers' get_scheduler's: warm-up
from 0, so that the first step of a warm-up has rate 0; linear and cosine end at 0 after --steps.
--rates takes each step's rate from a metrics.jsonl instead.

usage: curve.py --model FOLDER --adapter FOLDER --rows F.jsonl --steps N [--batch-size 4] [--grad-accumulation 1] [--learning-rate 2e-4]
         [--weight-decay 0.01] [--adam-beta1 0.9] [--adam-beta2 0.999] [--adam-epsilon 1e-8] [--max-grad-norm 0 (off)]
         [--schedule constant|linear|cosine] [--warmup 0] [--rates metrics.jsonl] [--held-out F.jsonl] [--out FOLDER] [--threads 1]
         [--compare metrics.jsonl --tolerance 1e-4]
rows: {"input_ids": […], "labels": […] (optional)}; --held-out prints {"heldOutLoss", "tokens", "step"} before and after.
Exit code 1 where --compare finds a loss or gradient norm further than --tolerance from PEFT's, relatively.
"""
import argparse, json, math, sys
import torch
import torch.nn.functional as F
from peft import PeftModel
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--adapter", required=True)
parser.add_argument("--rows", required=True)
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--batch-size", type=int, default=4)
parser.add_argument("--grad-accumulation", type=int, default=1)
parser.add_argument("--learning-rate", type=float, default=2e-4)
parser.add_argument("--weight-decay", type=float, default=0.01)
parser.add_argument("--adam-beta1", type=float, default=0.9)
parser.add_argument("--adam-beta2", type=float, default=0.999)
parser.add_argument("--adam-epsilon", type=float, default=1e-8)
parser.add_argument("--max-grad-norm", type=float, default=0.0)
parser.add_argument("--schedule", choices=["constant", "linear", "cosine"], default="constant")
parser.add_argument("--warmup", type=int, default=0)
parser.add_argument("--rates")
parser.add_argument("--held-out")
parser.add_argument("--out")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--compare")
parser.add_argument("--tolerance", type=float, default=1e-4)
options = parser.parse_args()
torch.set_num_threads(options.threads)


def read_lines(path: str) -> list[dict]:
    with open(path, encoding="utf-8") as file: return [json.loads(line) for line in file if line.strip()]


def steps_of(path: str) -> dict[int, dict]:
    return {line["step"]: line for line in read_lines(path) if "step" in line and "loss" in line}


def supervised(rows: list[dict]) -> int:
    return sum(label != -100 for row in rows for label in row.get("labels", row["input_ids"])[1:])


def summed_loss(model, rows: list[dict]) -> torch.Tensor:
    """Padded on the right: causal attention lets nothing of the padding into a row's own places."""
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.tensor([row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in rows])
    labels = torch.tensor([(row.get("labels", row["input_ids"])) + [-100] * (longest - len(row["input_ids"])) for row in rows])
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")


def held_out(model, step: int) -> None:
    if not options.held_out: return
    rows = read_lines(options.held_out)
    with torch.no_grad(): total = sum(summed_loss(model, [row]).item() for row in rows)
    print(json.dumps({"step": step, "heldOutLoss": total / supervised(rows), "tokens": supervised(rows)}), flush=True)


def rate(step: int) -> float:
    """Of the step counted from 0."""
    if options.rates: return given_rates[step + 1]["learningRate"]
    if step < options.warmup: return options.learning_rate * step / options.warmup
    if options.schedule == "constant": return options.learning_rate
    progress = (step - options.warmup) / max(1, options.steps - options.warmup)
    return options.learning_rate * (max(0.0, 1 - progress) if options.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress)))


given_rates = steps_of(options.rates) if options.rates else {}
rows = read_lines(options.rows)
base = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32, attn_implementation="eager")
model = PeftModel.from_pretrained(base, options.adapter, is_trainable=True)
model.train()
parameters = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=options.learning_rate, betas=(options.adam_beta1, options.adam_beta2), eps=options.adam_epsilon,
                              weight_decay=options.weight_decay, foreach=False, fused=False)
held_out(model, 0)
curve, taken = {}, 0
for step in range(options.steps):
    optimizer.param_groups[0]["lr"] = rate(step)
    batches = []
    for _ in range(options.grad_accumulation):
        batches.append([rows[(taken + i) % len(rows)] for i in range(options.batch_size)])
        taken += options.batch_size
    count, total = sum(supervised(batch) for batch in batches), 0.0
    for batch in batches:
        loss = summed_loss(model, batch) / count
        loss.backward()
        total += loss.item()
    norm = math.sqrt(sum(p.grad.double().pow(2).sum().item() for p in parameters))
    if options.max_grad_norm > 0: torch.nn.utils.clip_grad_norm_(parameters, options.max_grad_norm, foreach=False)
    optimizer.step()
    optimizer.zero_grad()
    curve[step + 1] = {"step": step + 1, "loss": total, "gradNorm": norm, "learningRate": rate(step), "tokens": count}
    print(json.dumps(curve[step + 1]), flush=True)
held_out(model, options.steps)
if options.out: model.save_pretrained(options.out)
if options.compare:
    theirs = steps_of(options.compare)
    missing = sorted(set(curve) - set(theirs))
    apart = {key: {s: abs(theirs[s][key] - curve[s][key]) / abs(curve[s][key]) for s in curve if s in theirs} for key in ("loss", "gradNorm")}
    # Each difference by itself: max() may pass over a NaN.
    passed = not missing and all(value <= options.tolerance for by_step in apart.values() for value in by_step.values())
    print(json.dumps({"largestRelativeDifference": {key: max(by_step.values(), default=math.inf) for key, by_step in apart.items()}, "stepsMissing": missing, "tolerance": options.tolerance, "passed": passed}))
    sys.exit(0 if passed else 1)
