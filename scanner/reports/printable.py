"""Text from models, samples and files is not ours: what a terminal or a parser would act on is shown, not sent."""

from __future__ import annotations

import unicodedata

_ZERO_WIDTH_JOINERS = "\u200c\u200d"  # ordinary in several scripts and in emoji


def printable(text: str, *, keep: str = "") -> str:
    r"""`text` with control characters, direction overrides and halves of surrogate pairs written as `\x1b`.

    What is left is one line, valid in XML 1.0 and harmless on a terminal; `keep` lists exceptions, e.g. newlines.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or not _acts(c) else _written(c) for c in text)


def one_line(text: str) -> str:
    """`printable`, with runs of white space folded to one space."""
    return printable(" ".join(text.split()))


def _acts(character: str) -> bool:
    category = unicodedata.category(character)
    if category == "Cn":  # of the unassigned ones XML refuses only the non-characters; they are refused together
        return (ord(character) & 0xFFFE) == 0xFFFE or 0xFDD0 <= ord(character) <= 0xFDEF
    return category in ("Cc", "Cs", "Zl", "Zp") or (category == "Cf" and character not in _ZERO_WIDTH_JOINERS)


def _written(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
