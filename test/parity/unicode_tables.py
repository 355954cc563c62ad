"""Writes src/policy/unicode-tables.ts: how Hugging Face's tokenizers library classes every code point, asked of the library itself.

    python unicode_tables.py <output file>

The library carries tables of two Unicode versions of its own, one in its regular expressions and an older one in its NFC; neither is that of a
JavaScript engine, which moves with every release of it.
"""
import sys
from unicodedata import ucd_3_2_0 as unicode_3_2

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
NFC, NFD = normalizers.NFC(), normalizers.NFD()


def of_class(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    return {c for c in CODES if not split.pre_tokenize_str(chr(c))}


def words():
    """What the Whitespace pre-tokenizer, whose expressions are of another library and Unicode version, joins to a letter."""
    split = pre_tokenizers.Whitespace()
    return {c for c in CODES if [piece for piece, _ in split.pre_tokenize_str("a" + chr(c))] == ["a" + chr(c)]}


def normalized():
    """Code points that the library's NFC treats as Unicode does today and, by its stability policy, always will."""
    known = set()
    for c in CODES:
        char = chr(c)
        whole = NFD.normalize_str(char)
        if whole != char:
            # What it is made of takes part in composing it.
            known |= {c, *map(ord, whole), *map(ord, NFC.normalize_str(whole[:-1]))}
        # A mark is put before one of a higher class (0345 has 240), and behind one of a lower (0334 has 1).
        if any(NFC.normalize_str(probe) != probe for probe in (char, f"a\u0345{char}", f"a{char}\u0334")):
            known.add(c)
    # And those of Unicode 3.2, the same in every Python, that no version moves, takes apart or puts together: less to cut a text at.
    canonical = {c: unicode_3_2.decomposition(chr(c)) for c in CODES}
    canonical = {c: d for c, d in canonical.items() if d and not d.startswith("<")}
    parts = {int(part, 16) for d in canonical.values() for part in d.split()}
    return known | {c for c in CODES if unicode_3_2.category(chr(c)) not in ("Cn", "Co") and not unicode_3_2.combining(chr(c)) and c not in canonical and c not in parts}


def ranges(codes):
    found = []
    for c in sorted(codes):
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return [f"{a:x}" if a == b else f"{a:x}-{b:x}" for a, b in found]


def constant(name, about, codes):
    lines = [""]
    for each in ranges(codes):
        if len(lines[-1]) + len(each) > 146:
            lines.append("")
        lines[-1] += each + " "
    body = "\n".join(f"  '{line}'," for line in lines)
    return f"/** {about} */\nexport const {name} = [\n{body}\n].join('');\n"


open(sys.argv[1], "w").write("\n".join([
    f"/**\n * Code points as Hugging Face's tokenizers {tokenizers.__version__} classes them: ranges in hexadecimal, first and last.\n *\n"
    " * Made by `test/parity/unicode_tables.py`, which asks the library; `npm run test:parity` makes it again and compares.\n */",
    constant("LETTERS", "What `\\\\p{L}` matches.".replace("\\\\", "\\"), of_class(r"\p{L}")),
    constant("NUMBERS", "What `\\p{N}` matches.", of_class(r"\p{N}")),
    constant("WORDS", "What `\\w` matches in the Whitespace pre-tokenizer and beside an added token that is a word of its own.", words()),
    constant("NORMALIZED", "What its NFC knows; all else, newer than its tables or never assigned, it leaves where it is.", normalized()),
]))
