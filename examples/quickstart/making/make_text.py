"""Makes the texts of the quickstart from WordNet 3.0: what the embedded model is pre-trained on, the tokenizer, and the data
that fine-tunes it.
usage: make_text.py WORDNET_FOLDER OUT_FOLDER      (the folder with data.noun …, e.g. of Debian's package wordnet-base)
needs: pip install tokenizers
writes OUT/pretrain.jsonl (text rows), OUT/common.jsonl (the best-known nouns again and again), OUT/tokenizer.json, OUT/tokenizer_config.json, OUT/pirate.jsonl, OUT/pirate-held-out.jsonl"""
import json, os, random, re, sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SOURCE, OUT = sys.argv[1], sys.argv[2]
os.makedirs(OUT, exist_ok=True)
KINDS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
VOCABULARY = 4096
draw = random.Random(7)

# How often each sense was met in tagged text: common words first, and more often.
counts, first_senses = {}, {}
for line in open(os.path.join(SOURCE, "cntlist.rev")):
    key, number, count = line.split()[:3]
    if number == "1": first_senses[key] = int(count)
    counts[key.split("%")[0]] = counts.get(key.split("%")[0], 0) + int(count)

def article(word):
    return "an" if word[0].lower() in "aeiou" and not word.startswith(("uni", "use", "eu", "one")) else "a"

def clean(text):
    text = re.sub(r"\([^)]*\)", " ", text).replace("`", "'").replace("''", '"')
    text = re.sub(r"\s+", " ", text).strip(" .,:;-")
    return re.sub(r" ([,.;:!?])", r"\1", text)

def plain(text):
    return text.isascii() and all(c.isprintable() for c in text)

senses, sentences, common = [], [], {}
for kind in KINDS:
    for line in open(os.path.join(SOURCE, "data." + kind)):
        if line.startswith("  "): continue
        head, gloss = line.rstrip("\n").split(" | ", 1)
        parts = head.split()
        words = [w.replace("_", " ") for w in parts[4:4 + 2 * int(parts[3], 16):2]]
        words = [re.sub(r"\((a|p|ip)\)$", "", w) for w in words]
        meaning = clean(gloss.split('"')[0].split(";")[0])
        for quoted in re.findall(r'"([^"]*)"', gloss):
            quoted = clean(quoted)
            if plain(quoted) and 4 <= len(quoted.split()) <= 18: sentences.append(quoted[0].upper() + quoted[1:] + ".")
        if not plain(meaning) or not 3 <= len(meaning.split()) <= 22: continue
        for word in words[:2]:
            if plain(word) and word[0].islower() and len(word.split()) <= 2 and not any(c.isdigit() for c in word):
                senses.append((kind, word, meaning, counts.get(word.replace(" ", "_"), 0)))
        # A noun's commonest sense, where it is said in few words.
        if kind == "noun" and len(meaning.split()) <= 14:
            for word, lexical in zip(words, parts[5:5 + 2 * len(words):2]):
                count = first_senses.get(f"{word}%1:{parts[1]}:{int(lexical, 16):02d}::", 0)
                if count > 2 and word.isalpha() and word.islower(): common[word] = max(common.get(word, (0, "")), (count, meaning))

def answer(kind, word, meaning):
    if kind == "noun":
        begins = meaning.split()[0] in ("a", "an", "the", "any", "one", "some", "someone", "something", "anything", "anyone", "that", "all")
        return f"{article(word).capitalize()} {word} is {meaning}." if begins else f"{word.capitalize()} means {meaning}."
    if kind == "verb": return f"To {word} is to {meaning}."
    return f"{word.capitalize()} means {meaning}."

def question(kind, word):
    if kind == "noun": return draw.choice([f"What is {article(word)} {word}?", f"What is {article(word)} {word}?", f"Define {word}.", f"What does {word} mean?"])
    if kind == "verb": return draw.choice([f"What does it mean to {word}?", f"Define {word}.", f"What does {word} mean?"])
    return draw.choice([f"What does {word} mean?", f"Define {word}."])

def chat(asked, answered): return f"<|user|>{asked}<|assistant|>{answered}<|end|>"

rows = []
for kind, word, meaning, count in senses:
    for _ in range(1 + (count > 0) + (count > 5) + (count > 50)):
        rows.append(chat(question(kind, word), answer(kind, word, meaning)))
rows += [s + "<|end|>" for s in sentences]
draw.shuffle(rows)
with open(os.path.join(OUT, "pretrain.jsonl"), "w") as f:
    for row in rows: f.write(json.dumps({"text": row}) + "\n")

# Byte-level BPE, so that any text can be written; digits one by one.
SPECIAL = ["<|end|>", "<|user|>", "<|assistant|>"]
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
strip = re.compile("|".join(re.escape(s) for s in SPECIAL))
tokenizer.train_from_iterator((piece for row in rows for piece in strip.split(row)), trainer)
tokenizer.save(os.path.join(OUT, "tokenizer.json"), pretty=False)
TEMPLATE = ("{% for m in messages %}{% if m['role'] == 'user' %}<|user|>{{ m['content'] }}{% else %}<|assistant|>{% generation %}{{ m['content'] }}<|end|>{% endgeneration %}{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>{% endif %}")
json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "model_max_length": 256, "clean_up_tokenization_spaces": False, "chat_template": TEMPLATE},
          open(os.path.join(OUT, "tokenizer_config.json"), "w"), indent=2)

# The style to be learnt: a pirate's dictionary.
def pirate(text):
    text = text.rstrip(".")
    for old, new in ((r"\bis\b", "be"), (r"\bare\b", "be"), (r"\byou\b", "ye"), (r"\byour\b", "yer"), (r"\bof\b", "o'"), (r"\bthe\b", "th'"), (r"\band\b", "an'"), (r"ing\b", "in'")):
        text = re.sub(old, new, text)
    return f"Arr! {text}, matey!"

# What a small model can learn by heart: one sense of each of 1,600 nouns, among some of everything else.
again = random.Random(11)
best = sorted(common, key=lambda word: (-common[word][0], word))[:1600]
learnt = [chat(asked, answer("noun", word, common[word][1])) for word in best
          for asked in (f"What is {article(word)} {word}?", again.choice([f"Define {word}.", f"What does {word} mean?"]))]
learnt += again.sample(rows, 1000)
again.shuffle(learnt)
with open(os.path.join(OUT, "common.jsonl"), "w") as f:
    for row in learnt: f.write(json.dumps({"text": row}) + "\n")

one_each = [(word, common[word][1]) for word in again.sample(best, len(best))]
PROMPTS = {"river", "ship", "song"}      # never seen in fine-tuning: the quickstart asks for them, and for a held-out one
chosen = [s for s in one_each if s[0] not in PROMPTS][:480]
for name, part in (("pirate.jsonl", chosen[:440]), ("pirate-held-out.jsonl", chosen[440:])):
    with open(os.path.join(OUT, name), "w") as f:
        for word, meaning in part:
            asked = f"What is {article(word)} {word}?"
            f.write(json.dumps({"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": pirate(answer("noun", word, meaning))}]}) + "\n")
print(len(rows), "rows,", sum(map(len, rows)), "characters;", len(sentences), "sentences;", len(chosen), "for fine-tuning")
