"""Turns {"prompt", "completion"} or {"text"} rows into tokens as TRL does: {"input_ids", "labels"}, for Graft and PEFT to train on alike.

A completion's tokens are those of prompt + completion after as many as the prompt has alone, then the end-of-text token; the prompt's labels are
-100. With --chat each row is a user's and an assistant's turn in the model's chat template, and the assistant's turn up to its end mark is learnt.

usage: tokenise.py --model FOLDER --data F.jsonl --out F.jsonl [--max-length 1024] [--chat]
"""
import argparse, json
from transformers import AutoTokenizer

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--out", required=True)
parser.add_argument("--max-length", type=int, default=1024)
parser.add_argument("--chat", action="store_true")
options = parser.parse_args()
tokenizer = AutoTokenizer.from_pretrained(options.model)


def ids_of(text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def texts(row: dict) -> tuple[str, str]:
    if "text" in row: return "", row["text"] + tokenizer.eos_token
    if not options.chat: return row["prompt"], row["completion"] + tokenizer.eos_token
    turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"].strip()}]
    prompt = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(turns, tokenize=False)
    return prompt, whole[len(prompt):].rstrip()


with open(options.data, encoding="utf-8") as rows, open(options.out, "w", encoding="utf-8") as out:
    for number, line in enumerate(rows, 1):
        if not line.strip(): continue
        prompt, answer = texts(json.loads(line))
        given, whole = ids_of(prompt), ids_of(prompt + answer)
        if whole[:len(given)] != given: raise SystemExit(f"{options.data}:{number}: the prompt's tokens are not the first of prompt and completion")
        labels = [-100] * len(given) + whole[len(given):]
        out.write(json.dumps({"input_ids": whole[:options.max_length], "labels": labels[:options.max_length]}) + "\n")
