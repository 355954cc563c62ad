"""Qwen2.5's tokenizer as Hugging Face's own library runs it: tokenizer.json, and the ids of at least 100,000 strings.

    python tokenizer.py <vocabulary folder> <datasets folder> <output folder> <seed>

Writes tokenizer.json and tokenizer_config.json, and strings.jsonl (text, ids, decoded text). A lone half of a surrogate pair stands for U+FFFD, as no
UTF-8 holds it.
"""
import gzip
import json
import random
import sys
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AddedToken
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

VOCABULARY, DATASETS, OUT = (Path(p) for p in sys.argv[1:4])
rng = random.Random(int(sys.argv[4]))


def make():
    vocab = json.loads(gzip.decompress((VOCABULARY / "vocab.json.gz").read_bytes()))
    lines = gzip.decompress((VOCABULARY / "merges.txt.gz").read_bytes()).decode().split("\n")[1:]
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=[tuple(line.split(" ")) for line in lines if line], eos_token="<|endoftext|>")
    added = json.loads((VOCABULARY / "added_tokens.json").read_text())
    tokenizer.add_tokens([AddedToken(t, special=t.startswith("<|") and i < 151657, normalized=False) for t, i in sorted(added.items(), key=lambda x: x[1])])
    for token, i in added.items():
        assert tokenizer.convert_tokens_to_ids(token) == i, token
    tokenizer.backend_tokenizer.save(str(OUT / "tokenizer.json"))
    (OUT / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}))
    return Tokenizer.from_file(str(OUT / "tokenizer.json"))


def whole(text):
    """Lone halves of surrogate pairs as U+FFFD, pairs as their character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def real_texts():
    for path in sorted((DATASETS / "benchmarks").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            yield row["question"]
            yield from row["golden_answers"]
    for path in sorted((DATASETS / "corpora").glob("*.jsonl.gz")):
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            yield json.loads(line)["contents"]


RANGES = {
    "latin": [(0x20, 0x7F), (0xA0, 0x250)],
    "marks": [(0x61, 0x7B), (0x300, 0x370), (0x1AB0, 0x1B00), (0x20D0, 0x2100), (0x1DC0, 0x1E00)],
    "cjk": [(0x3000, 0x3100), (0x4E00, 0xA000), (0xAC00, 0xD7A4), (0xF900, 0xFB00), (0x1100, 0x1200), (0xFF00, 0xFFF0)],
    "emoji": [(0x1F300, 0x1FA00), (0x1F1E6, 0x1F200), (0x200D, 0x200E), (0xFE0E, 0xFE10), (0x1F3FB, 0x1F400), (0x2600, 0x27C0)],
    "rtl": [(0x590, 0x700), (0x7C0, 0x860), (0x200E, 0x2010), (0x202A, 0x202F), (0x2066, 0x206A)],
    "indic": [(0x900, 0xE00), (0xE00, 0xF00), (0xF00, 0x1000), (0x1000, 0x10A0)],
    "planes": [(0x80, 0xD800), (0xE000, 0x110000)],
    "newer": [(0x61, 0x7B), (0x300, 0x345), (0x860, 0x8E0), (0xC3C, 0xC3D), (0x1AB0, 0x1B00), (0x1DF5, 0x1DFB), (0xA7C0, 0xA800), (0x10570, 0x105FF), (0x10D00, 0x10F90), (0x11200, 0x12000), (0x16100, 0x16DF0),
              (0x1DF00, 0x1E030), (0x1E4D0, 0x1E600), (0x1FBF0, 0x1FBFA), (0x2B739, 0x323B0), (0x0, 0x110000)],
    "halves": [(0xD800, 0xE000), (0x20, 0x7F), (0x1F600, 0x1F650)],
    "controls": [(0x0, 0x20), (0x7F, 0xA1), (0x2000, 0x2030), (0xFEFF, 0xFF00), (0x61, 0x7B)],
}
SPACES = [" ", "  ", "\n", "\r\n", "\r", "\t", "\u00a0", "\u3000", "\u2028", "\x0b", "\x0c", "\x85", "\u1680", "\u200a", "\ufeff", "\x1c"]
CODE = ["def f(x):", "\n    ", "return", " != ", "===", "->", "{", "}", "();", "/*", "*/", "//", "0x1F", "1e-9", "::", "<T>", "\\n", "\"", "'", "'s", "'LL",
        "'\u017f", "\t\t", "#include", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<|endoftext|>", "<|fim_prefix|>", "<|", "|>", "_", "CamelCase", "12345"]
WORDS = ["the", "The", " of", " Who", " is", "n't", "'re", "'VE", "I'm", "don't", " 1998", "3.14", ",", ".", "?", "!", "\u00e9", "\u00f1", " na\u00efve", " \u4f60\u597d", " \u043c\u0438\u0440"]


def draw(kind):
    if kind == "code":
        return "".join(rng.choice(CODE + SPACES[:6]) for _ in range(rng.randrange(1, 30)))
    if kind == "spaces":
        return "".join(rng.choice(SPACES + ["a", "1", "."]) * rng.randrange(1, 6) for _ in range(rng.randrange(1, 12)))
    if kind == "words":
        return "".join(rng.choice(WORDS + SPACES[:4]) for _ in range(rng.randrange(1, 30)))
    if kind == "mixed":
        return "".join(draw(rng.choice(list(RANGES) + ["code", "spaces", "words"])) for _ in range(rng.randrange(2, 5)))
    ranges = RANGES[kind]
    return "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(1, 24)))


tokenizer = make()
texts = list(dict.fromkeys(real_texts()))
kinds = list(RANGES) + ["code", "spaces", "words", "mixed"]
while len(texts) < 120_000:
    texts.append(draw(kinds[len(texts) % len(kinds)]))
with open(OUT / "strings.jsonl", "w") as file:
    for start in range(0, len(texts), 1000):
        part = texts[start:start + 1000]
        for text, encoding in zip(part, tokenizer.encode_batch([whole(t) for t in part], add_special_tokens=False)):
            file.write(json.dumps({"text": text, "ids": encoding.ids, "decoded": tokenizer.decode(encoding.ids, skip_special_tokens=False)}) + "\n")
