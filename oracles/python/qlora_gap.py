"""What 4 bits cost in training, by Graft and by PEFT + bitsandbytes: held-out loss of LoRA over 4-bit weights against LoRA over the unquantised
ones, from the same start, on the same rows in the same order, in f32.

FOLDER4 is what `graft quantize` made of FOLDER (NF4, double quantization); check_quantized.py shows that bitsandbytes would have written the same.
bitsandbytes multiplies in the bnb_4bit_compute_dtype of FOLDER4's config.json: quantise a bf16 model with --dtype f32 to compare in f32.
Prints each run's held-out loss and, for both peers, gap = (loss over 4 bits / loss over unquantised - 1); exit code 1 where the two gaps are more
than half a percentage point apart.

usage: qlora_gap.py --model FOLDER --quantized FOLDER4 --data F.jsonl --held-out F.jsonl --work FOLDER [--steps 30] [--batch-size 4]
         [--rank 16] [--learning-rate 2e-4] [--threads 1] [--graft "bun run graft"]
rows: {"prompt", "completion"} or {"text"}
"""
import argparse, json, os, shlex, subprocess, sys, time

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--quantized", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--held-out", required=True)
parser.add_argument("--work", required=True)
parser.add_argument("--steps", type=int, default=30)
parser.add_argument("--batch-size", type=int, default=4)
parser.add_argument("--rank", type=int, default=16)
parser.add_argument("--learning-rate", default="2e-4")
parser.add_argument("--threads", default="1")
parser.add_argument("--graft", default="bun run graft")
options = parser.parse_args()
here = os.path.dirname(os.path.abspath(__file__))
os.makedirs(options.work, exist_ok=True)


def at(name: str) -> str:
    return os.path.join(options.work, name)


def run(*command: str) -> list[dict]:
    """The JSON lines that it prints."""
    began = time.monotonic()
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(f"{time.monotonic() - began:6.0f} s  {' '.join(command)}", file=sys.stderr, flush=True)
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def script(name: str, *arguments: str) -> list[dict]:
    return run(sys.executable, os.path.join(here, name), *arguments)


rows, held_out, start = at("rows.jsonl"), at("held-out.jsonl"), at("start")
script("tokenise.py", "--model", options.model, "--data", options.data, "--out", rows)
script("tokenise.py", "--model", options.model, "--data", options.held_out, "--out", held_out)
script("new_adapter.py", "--model", options.model, "--out", start, "--rank", str(options.rank), "--alpha", str(options.rank))
shared = ["--adapter", start, "--steps", str(options.steps), "--batch-size", str(options.batch_size), "--learning-rate", options.learning_rate,
          "--schedule", "constant", "--warmup", "0", "--weight-decay", "0.01", "--max-grad-norm", "0", "--threads", options.threads]
graft = shlex.split(options.graft)
loss: dict[str, dict[str, float]] = {"peft": {}, "graft": {}}
for name, model in (("unquantised", options.model), ("nf4", options.quantized)):
    lines = script("curve.py", "--model", model, "--rows", rows, "--held-out", held_out, *shared)
    before, after = [line["heldOutLoss"] for line in lines if "heldOutLoss" in line]
    loss["peft"][f"{name} before"], loss["peft"][name] = before, after
    device, trained = ["--compute", "f32", "--threads", options.threads], at(f"graft-{name}")
    run(*graft, "train", "--model", model, "--data", rows, "--out", trained, *shared, "--lora-dropout", "0", "--no-shuffle", "--compute", "f32")
    for title, adapter in ((f"{name} before", start), (name, trained)):
        lines = run(*graft, "eval", "--model", model, "--adapter", adapter, "--data", held_out, "--json", *device)
        loss["graft"][title] = [line["loss"] for line in lines if line.get("event") == "Eval"][0]
gaps = {}
for peer, losses in loss.items():
    print(json.dumps({"peer": peer, **losses}))
    gaps[peer] = losses["nf4"] / losses["unquantised"] - 1
    print(json.dumps({"peer": peer, "gapBefore": losses["nf4 before"] / losses["unquantised before"] - 1, "gap": gaps[peer]}))
apart = abs(gaps["graft"] - gaps["peft"])
print(json.dumps({"gapsApart": apart, "passed": apart <= 0.005}))
sys.exit(0 if apart <= 0.005 else 1)
