"""Question and answer pairs from the Jargon File 4.4.7 (public domain): jargon.jsonl to train on, jargon-held-out.jsonl to judge by.

Reads the lexicon as Debian's package dict-jargon ships it (jargon.index and jargon.dict.dz, found in usr/share/dictd/ of the package).
Of each entry it takes the first sense: the first sentence, which a few patterns turn from a dictionary's fragment into a whole one, and as many
of the sentences after it as fit. An entry that no pattern fits, or that is not plain prose, is left out.
A row is {"prompt": "What does 'X' mean?", "completion": " In hacker slang, …"}: the completion begins with the space that parts the two.

usage: make_jargon.py DICTD_FOLDER OUT_FOLDER
"""
import gzip, json, random, re, sys
from pathlib import Path

LONGEST, SHORTEST, SENTENCES = 400, 60, 4
TRAIN, HELD_OUT = 600, 100
DIGITS = {c: i for i, c in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}
ASCII = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "…": "...", "–": "-"})
ABBREVIATIONS = ("e.g", "i.e", "etc", "esp", "vs", "orig", "usu", "prob", "cf", "St", "Dr", "Mr", "Mrs", "Ms", "No", "U.S", "U.K", "Inc", "Corp", "Co", "Jr", "Abbrev",
                 "abbrev", "Syn", "syn", "c", "ca", "approx", "pl", "v", "n", "p", "J", "E", "B", "R", "S", "D", "M", "A", "C", "G", "H", "K", "L", "P", "T", "W")
# The example data should offend nobody.
LEFT_OUT = re.compile(r"fuck|shit|\bsex|sexual|rape\b|nazi|whore|bitch|penis|\bdick\b|retard|\bjew|\bgay|faggot|\btits?\b|\bpiss|\bass\b|arse|suicid|masturbat|orgasm|orgy|nigg|"
                      r"bastard|turd|testicle|genital|breast|virgin|drug|LSD|puke|vomit|crap\b|balls|hitler|bondage|terroris|nuclear|extermin|ethnic|gestapo|year-old|moron|idiot|condom|obscen|digitus|drunk|hobo|maggot|stupid|luser|female|Microsoft|Gates|\bkill", re.I)


def number(text: str) -> int:
    value = 0
    for c in text: value = value * 64 + DIGITS[c]
    return value


def entries(folder: Path):
    """Each article once, as its own first line names it."""
    text, seen = gzip.decompress((folder / "jargon.dict.dz").read_bytes()), set()
    for line in (folder / "jargon.index").read_text(encoding="utf-8").splitlines():
        word, start, length = line.split("\t")
        if word.startswith("00-database") or start in seen: continue
        seen.add(start)
        article = text[number(start):number(start) + number(length)].decode()
        name, _, rest = article.partition("\n")
        yield name.strip(), rest


def plain(paragraph: str) -> str:
    text = " ".join(paragraph.split()).translate(ASCII)
    text = re.sub(r"\{\s*([^{}]*?)\s*\}", r"\1", text)              # cross references
    text = re.sub(r"\s*—\s*", " - ", text)
    text = re.sub(r"\s+([,;:!?.)])(?=\s|$)", r"\1", text)           # left by the line breaks of the source
    return re.sub(r'(^|[\s(])"\s+(?=\w)', r'\1"', text)


def first_sense(rest: str) -> tuple[str, str]:
    """Part of speech (n, v, adj, adv, or empty) and the first sense's text."""
    head, *paragraphs = re.split(r"\n\s*\n", rest)
    texts = [plain(p) for p in paragraphs if p.strip()]
    speech = re.sub(r"/[^/]*/", "", plain(head))
    texts = [t for t in texts if not re.fullmatch(r"\[[^\]]*\]\.?", t)]
    if not texts: return "", ""
    text = texts[0]
    while True:
        marker = re.match(r"(1\.\s+|\[[^\]]*\]\s*|\((?:also|pron)[^)]*\)\s*|(?:pl\.)?(n|vt|vi|v|adj|adv|interj|excl|imp|obs|prov)\.\s*,?\s*(?=[A-Z\[(]))", text)
        if not marker: break
        if marker.group(2): speech = marker.group(2) + "."
        text = text[marker.end():]
    text = re.split(r"\s2\.\s+(?=[A-Z\[(]|n\.|v)", text)[0]
    kinds = (("adv", r"\badv\b"), ("adj", r"\badj\b"), ("v", r"\bv[ti]?\b|imp"), ("n", r"\bn\b"))
    return next((kind for kind, pattern in kinds if re.search(pattern, speech)), ""), text


def sentences(text: str) -> list[str]:
    parts, start = [], 0
    for end in re.finditer(r"[.!?][\"')]*\s+(?=[\"'(]?[A-Z0-9])", text):
        before = re.search(r"([\w.]+)\.$", text[start:end.start() + 1])
        if before and before.group(1) in ABBREVIATIONS: continue
        parts.append(text[start:end.end()].strip())
        start = end.end()
    return [p for p in parts + [text[start:].strip()] if p]


def without_references(sentence: str) -> str:
    """A sentence less what sends the reader to another entry."""
    text = re.sub(r"\s*\((?:see|compare|cf\.|syn\.|also|but see|q\.v)[^()]*\)", "", sentence, flags=re.I)
    text = re.sub(r"[;,:-]\s*(?:but\s+)?(?:see|see also|compare|cf\.|contrast|syn\.|q\.v\.?)\s[^.;]*(?=[.;])", "", text, flags=re.I)
    return re.sub(r"\s+", " ", text).strip()


def is_prose(sentence: str) -> bool:
    if re.search(r"https?:|ftp:|www\.|\w@\w|[<>|\\{}_^~*#=$\[\]]|\bsee\b|\bSee\b|\bCompare\b|\bcompare\b|\bentry\b|\bFile\b|lexicon|sense \d|\bsense\b.*\babove\b|\babove\b|\bbelow\b|q\.v", sentence): return False
    if not sentence.isascii() or LEFT_OUT.search(sentence): return False
    if sentence.count('"') % 2 or sentence.count("(") != sentence.count(")"): return False
    if len(re.findall(r"(?<![A-Za-z])'|'(?![A-Za-z])", sentence)) % 2: return False
    return re.search(r"[.!?][\"')]*$", sentence) is not None and not sentence.endswith("...")


TERMS = (r"term|word|name|abbreviation|acronym|synonym|shorthand|variant|variation|spelling|contraction|reference|phrase|expression|way|metaphor|euphemism|pun|corruption|form|slang|jargon|"
         r"description|tag|nickname|usage|response|exclamation|insult|compliment|greeting|pejorative|device|program|feature|tool|bug|piece|kind|type|style|condition|method|technique|practice|"
         r"interjection|noun|verb|equivalent|prefix|suffix|label|title|joke|cliche|language|notation|hack|game")
LEADING = (r"common|popular|humorous|jocular|ironic|derogatory|disparaging|generic|standard|archaic|universal|usual|conventional|general|mildly|very|semi-humorous|facetious|playful|"
           r"affectionate|obsolete|technical|informal|written|usenet|british|commonwealth|unix|vague|polite|traditional|hackish|slang|alternate|alternative|deliberate|silly|shortened|"
           r"collective|catch-all|special|canonical|mythical|hypothetical|fictional|extremely|related|blanket|older|early|less|more|sarcastic|pejorative|occasional|sometimes|quasi-legal|written-only|net|online|on-line")


def article(phrase: str) -> str:
    first = phrase.split()[0].lower()
    return ("an " if re.match(r"[aeiou]", first) and not re.match(r"univ|use|usual|usenet|unix|one|euph|uni", first) else "a ") + phrase


def lower_first(text: str) -> str:
    return text if re.match(r"[A-Z][A-Z0-9/+-]|(?:Unix|Usenet|British|Commonwealth|Internet|American|English|Microsoft|Japanese)\b", text) else text[0].lower() + text[1:]


def whole_sentence(word: str, speech: str, fragment: str) -> str | None:
    """The dictionary's first sentence with the word put before it, or None where that would not be English."""
    if re.search(r"^[^,;(]*, this (?:is|indicates|means)\b", fragment): return None    # "Said of people, this indicates …"
    subject, body = f"In hacker slang, '{word}'", lower_first(fragment)
    if re.match(r"(A|An|The|One|Any|Someone|Somebody|Something|Anything|Anyone) (?!of the |can |is |could |may |might |have |has |will |would |must |should |are |was )", fragment) and speech in ("n", ""):
        # Not a sentence of its own ("The original X was written …"): within its first words, before anything like "which", no finite verb.
        early = re.sub(r"\([^)]*\)", "", fragment)
        early = re.split(r"\b(?:that|which|who|whose|when|where|in|on|for|of|with|by|to|used|from)\b|[,;:]", early, maxsplit=1)[0]
        if re.search(r"\b(is|are|was|were|has|have|had|can|may|will|does|do|comes|came|refers|means|says|said)\b", early): return None
        return f"{subject} is {body}"
    if speech in ("v", "") and re.match(r"To [a-z]", fragment): return f"{subject} means {body}"
    if re.match(r"(Short|Shorthand|Slang|Jargon) (for|form of|of)\b", fragment): return f"{subject} is {body}"
    if re.match(rf"(?:(?:{LEADING})[ ,]+(?:and |or )?)*(?:{TERMS})\b (?:of|for|used|applied|meaning|to|describing|that|which|by|in|indicating|from|given)\b", fragment, re.I): return f"{subject} is {article(body)}"
    if re.match(r"(Abbrev(?:iation|\.)|Acronym) (for|of)\b", fragment): return f"{subject} is an abbreviation {fragment.split(' ', 1)[1]}"
    if re.match(r"(Syn\.|Synonym|Synonymous) (for|with)\b", fragment): return f"{subject} is synonymous with {fragment.split(' ', 2)[2]}"
    if re.match(r"(Equivalent to|Said (?:of|by|to|when)|Used (?:to|as|by|in|for|when|with|especially)|Applied to|Often used|Usually used|Also used)\b", fragment): return f"{subject} is {body}"
    if re.match(r"(Describes|Refers to|Denotes|Means|Indicates|Expresses)\b", fragment): return f"{subject} {body}"
    if speech in ("adj", "adv") and re.match(r"(Of|Having|Being|Not|Very|Extremely|Pertaining|Relating|Characterized|Broken|Capable|Able|Unable|Too|Excessively|Full|Stuck|In|With|Without|Especially|"
                                             r"Obsolete|Ugly|Elegant|Simple|Complex|Small|Large|Possessing|Resembling|Pleasant|Badly|Overly|Unusually|Suffering|Exhibiting|Containing|Lacking|Likely|Easily|Designed|Made|"
                                             r"Disgusting|Temporarily|Completely|Tending|Inclined|Useless|Working|Consisting|Wrong)\b", fragment) \
            and not re.match(r"(?:In|Of) [^,]*,", fragment): return f"{subject} means {body}"
    if speech == "n" and re.match(r"(Software|Code|Programs|Hardware|Data|Documentation|Random|Any|Those|People|Bits|Bytes|Memory|Programming|Trouble|Excessive|Junk|Material|Information|"
                                  r"Mail|Messages|Features|Computers|Large|Small|Blinking|Paper|Postings|Users|Text|Characters|Numbers|Money|Time|Electronic|Anything|Something|Lines|Techniques|Methods|Art|"
                                  r"Loosely|Originally|Generically)\b [a-z-]+ ?(?:[a-z-]+ ){0,2}(?:that|which|who|whose|used|written|of|for|in|designed|with|from|by|produced|sent|to)\b", fragment) \
            and not re.match(r"Originally|Generically|Loosely", fragment): return f"{subject} is {body}"
    return None


def answer(word: str, rest: str) -> str | None:
    speech, text = first_sense(rest)
    parts = sentences(text)
    if not parts: return None
    first = without_references(parts[0])
    first = whole_sentence(word, speech, first) if len(first) > 20 and is_prose(first) else None
    if first is None or len(first) > LONGEST: return None
    said = [first]
    for part in parts[1:]:
        part = without_references(part)
        if re.match(r"(See|Compare|Cf|Syn|Contrast|Also|Opposite)\b", part): continue
        if not is_prose(part) or part.endswith((":", "?")) or not OPENING.match(part) or not VERB.search(part): break
        if len(" ".join(said)) + 1 + len(part) > LONGEST or len(said) == SENTENCES: break
        said.append(part)
    result = " ".join(said)
    return result if len(result) >= SHORTEST else None


VERB = re.compile(r"\b(is|are|was|were|be|been|has|have|had|can|could|may|might|will|would|must|should|does|do|did|refers?|means?|seems?|comes?|came|became|becomes?|implies|suggests?|describes?|"
                  r"tends?|uses?|derives?|exists?|occurs?|appears?|originated|started|began|arose|makes?|takes?|took|says?|said|calls?|considers?|prefers?|gets?|goes|went|know|knows|think|needs?|use|speaks?|spoke|feel|find|found)\b")
# How a sentence that can stand alone begins here; dictionaries leave out subjects ("Implies that …", "More obscure than …").
OPENING = re.compile(r"(?:This|It|The|These|Those|They|There|Hackers|Some|Many|Most|For example,|In|When|If|Unlike|One|Unix|People|Programmers|Users|Although|Because|Since|While|On|At|Such|That|We|You) ")


def main() -> None:
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    rows = []
    for word, rest in entries(source):
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9 .'/+-]{1,28}", word) or "'" in word or LEFT_OUT.search(word): continue
        if said := answer(word, rest): rows.append({"prompt": f"What does '{word}' mean?", "completion": f" {said}"})
    print(f"{len(rows)} entries fit")
    random.Random(0).shuffle(rows)
    for name, part in (("jargon.jsonl", rows[:TRAIN]), ("jargon-held-out.jsonl", rows[TRAIN:TRAIN + HELD_OUT])):
        (out / name).write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
        print(f"{name}: {len(part)} rows, {(out / name).stat().st_size} bytes")


main()
