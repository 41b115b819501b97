"""Names out of a hostile file, made fit for a report; and lists of names, made fit for reading."""

from __future__ import annotations


def shown(name: str, longest: int = 80) -> str:
    """`name` in quotes, in printable ASCII, cut off where it is long."""
    text = ascii(name)[1:-1]
    return f'"{text if len(text) <= longest else text[:longest] + "..."}"'


def words(text: str) -> frozenset[str]:
    """The words of `text`, parted by blanks."""
    return frozenset(text.split())
