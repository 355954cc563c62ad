"""Makes ../fixtures/scores.json: what Python's own string operations score, for the TypeScript scorers to equal.

    python3 test/reward/official/make_fixture.py

The official scorers (SQuAD 1.1 and 2.0, HotpotQA, Search-R1's qa_em, TriviaQA, PopQA) are Python. Their semantics are written out here
from their description, on the standard library alone: lower(), string.punctuation, the Unicode word boundary of re, split().
Nothing random without a seed: the file is the same on every run of one Unicode version.
"""
import json
import pathlib
import random
import re
import string
import sys
import unicodedata
from collections import Counter


def words(text):
    return text.split()


def without_articles(text):
    return re.sub(r"\b(a|an|the)\b", " ", text)


def normalize(text):
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(words(without_articles(bare)))


def normalize_triviaqa(text):
    marks = set(string.punctuation + "\u2018\u2019\u00b4`")
    spaced = "".join(" " if c in marks else c for c in text.replace("_", " ").lower())
    return " ".join(words(without_articles(spaced)))


def token_f1(prediction, gold, normal=normalize):
    p, g = words(normal(prediction)), words(normal(gold))
    shared = sum((Counter(p) & Counter(g)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(p), shared / len(g)
    return 2 * precision * recall / (precision + recall)


def f1_squad2(prediction, gold):
    p, g = words(normalize(prediction)), words(normalize(gold))
    return float(p == g) if not p or not g else token_f1(prediction, gold)


def f1_hotpotqa(prediction, gold):
    p, g = normalize(prediction), normalize(gold)
    closed = ("yes", "no", "noanswer")
    if p != g and (p in closed or g in closed):
        return 0.0
    return token_f1(prediction, gold)


def popqa(prediction, golds):
    return any(form in prediction for gold in golds for form in (gold, gold.lower(), gold.capitalize()))


def search_r1_answer(sequence):
    found = re.findall(r"<answer>(.*?)</answer>", sequence, re.DOTALL)
    return found[-1].strip() if len(found) > 1 else None


def last_answer(text):
    found = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)
    return found[-1].strip() if found else None


BY_HAND = [
    ("The Beatles", ["Beatles"]), ("beatles, the", ["The Beatles"]), ("A", ["the"]), ("", [""]), ("", ["x"]), ("...", ["the"]), ("yes", ["Yes."]),
    ("yes", ["no"]), ("yes it is", ["yes"]), ("no", ["no man's land"]), ("noanswer", ["answer"]), ("Malgorzata", ["Małgorzata"]),
    ("co-founder", ["co founder"]), ("co-founder", ["cofounder"]), ("1994-95", ["1994–95"]), ("1994-95", ["199495"]), ("1,000", ["1000"]),
    ("‘Hamlet’", ["Hamlet"]), ("'Hamlet'", ["Hamlet"]), ("“Hamlet”", ["Hamlet"]), ("O’Brien", ["O'Brien", "OBrien"]), ("naïve", ["naive"]),
    ("na\u0131\u0308ve", ["naïve"]), ("the\u0301", ["\u0301"]), ("e\u0301a", ["e\u0301"]), ("a\u0301", ["\u0301"]), ("thé", ["thé"]), ("anа", ["anа"]),
    ("the²", ["²"]), ("a½", ["½"]), ("the①", ["①"]), ("a中", ["中"]), ("an·x", ["·x"]), ("the\u200bcat", ["\u200bcat"]), ("the\ufeffcat", ["\ufeffcat"]),
    ("a\u00a0b", ["b"]), ("x\x1cy", ["x y"]), ("x\x85y", ["x y"]), ("x\u180ey", ["x y"]), ("x\u2028y", ["x y"]), ("x\ufeff", ["x"]), ("\ufeff", [""]),
    ("x\u3000y", ["x y"]), ("ΟΔΟΣ", ["οδος"]), ("ΟΔΟΣ", ["οδοσ"]), ("İstanbul", ["istanbul"]), ("İ", ["i\u0307"]), ("STRASSE", ["Straße"]), ("ẞ", ["ß"]),
    ("Ǆ", ["ǆ"]), ("U.S.A.", ["USA"]), ("a.b.c", ["abc"]), ("the_cat", ["thecat", "cat"]), ("the_cat", ["cat"]), ("_a_", [""]), ("$5", ["5"]), ("£5", ["5"]),
    ("C++", ["C"]), ("AT&T", ["at t"]), ("George VI\n", ["George VI"]), ("New York", ["new york"]), ("in New york city", ["New York"]),
    ("theatre", ["atre"]), ("an the a", [""]), ("athena", ["Athena"]), ("the the", ["The The"]), ("one two two", ["two two three"]), ("two", ["two two two"]),
    ("A an apple", ["apple"]), ("Thea", ["a"]), ("'the'", ["the"]), ("rock 'n' roll", ["rock n roll"]), ("Łódź", ["łódź"]), ("ΑΣ the ΑΣ", ["ας ας"]),
]

ALPHABET = list("aAnNtThHeE  .,-'_ 12") + ["the ", " an ", " a ", "yes", "no", "é", "e\u0301", "’", "–", "Σ", "İ", "ß", "中", "²", "\u00a0", "\x1f", "\u200b", "ǅ", "\n"]
SEQUENCES = ["", "<answer>", "</answer>", "<answer> Beijing </answer>", "<answer>\n", " x ", "</search>", "\x1c", "\ufeff"]


def generate():
    draw = random.Random(2605)
    pairs = list(BY_HAND)
    while len(pairs) < 500:
        text = "".join(draw.choice(ALPHABET) for _ in range(draw.randint(0, 12)))
        changed = draw.choice([str.upper, str.lower, str.title, lambda s: f"the {s}", lambda s: s.replace("-", ""), lambda s: f"{s}.", lambda s: s[::-1], str.strip])
        golds = [changed(text) if draw.random() < 0.6 else changed(text)[1:]] + ["".join(draw.choice(ALPHABET) for _ in range(draw.randint(0, 8))) for _ in range(draw.randint(0, 3))]
        draw.shuffle(golds)
        pairs.append((text, golds))
    scores = [
        {
            "prediction": prediction,
            "golds": golds,
            "normalized": normalize(prediction),
            "triviaqa": normalize_triviaqa(prediction),
            "em": int(any(normalize(prediction) == normalize(g) for g in golds)),
            "f1": max(f1_squad2(prediction, g) for g in golds),
            "f1_hotpotqa": max(f1_hotpotqa(prediction, g) for g in golds),
            "f1_triviaqa": max(token_f1(prediction, g, normalize_triviaqa) for g in golds),
            "popqa": int(popqa(prediction, golds)),
        }
        for prediction, golds in pairs
    ]
    sequences = ["".join(draw.choice(SEQUENCES) for _ in range(draw.randint(0, 9))) for _ in range(150)]
    answers = [{"text": s, "last": last_answer(s), "search_r1": search_r1_answer(s)} for s in sequences]
    # Every character that Python calls part of a word, a space or punctuation, as ranges: re's \b and split() rest on these.
    return {
        "python": sys.version.split()[0],
        "unicode": unicodedata.unidata_version,
        "scores": scores,
        "answers": answers,
        "spaces": [c for c in range(sys.maxunicode + 1) if chr(c).isspace()],
        "words": ranges(c for c in range(sys.maxunicode + 1) if chr(c).isalnum()),
    }


def ranges(codes):
    out = []
    for code in codes:
        if out and out[-1][1] == code - 1:
            out[-1][1] = code
        else:
            out.append([code, code])
    return out


if __name__ == "__main__":
    path = pathlib.Path(__file__).parent.parent / "fixtures" / "scores.json"
    made = generate()
    lines = [f'  {json.dumps(k)}: ' + ("[\n    " + ",\n    ".join(json.dumps(x) for x in v) + "\n  ]" if k in ("scores", "answers") else json.dumps(v)) for k, v in made.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(made['scores'])} pairs, {len(made['answers'])} sequences, Unicode {made['unicode']} -> {path.name}")
