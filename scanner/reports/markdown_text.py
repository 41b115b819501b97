r"""Foreign text in Markdown that GitHub and GitLab render: shown as it is, whatever it holds.

Markup is escaped. What they look for after rendering (mentions, references, addresses, emoji) no escape stops; a space
of no width between its sign and its name does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .printable import one_line

_BREAK = "\N{ZERO WIDTH SPACE}"
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}  # a table is cut at every `|` before all else
_ESCAPED = re.compile(r"[\\`*_\[\]{}~$]")  # what else is markup is so at the start of a line only
_SPECIAL = re.compile(r"[&<>|]")
_REFERENCE = re.compile(
    r"[@#!~%$](?=[\w\"])|&(?=\d)"  # @name, #1, and GitLab's !1, ~label, $1, %"milestone", &1
    r"|:(?=//|(?:[\w+-]{0,40}[A-Za-z][\w+-]{0,40}|1234|100|[+-]1):)"  # an address, or :emoji:
    r"|(?<![^\W_])(?:www(?=\.)|(?:GH|gh)-(?=\d)|mailto(?=:)|xmpp(?=:))"  # also after `_`
)
_MARK = "\ue000"  # stands for the break until all is escaped; one in the text is left out


def plain(text: str, most: int = 300) -> str:
    """`text` on one line of at most `most` characters before escaping, for a table's cell or within a line."""
    line = shorten(one_line(text[: 4 * most]).replace(_MARK, ""), most)
    line = _REFERENCE.sub(lambda found: found[0] + _MARK, line)
    line = _ESCAPED.sub(r"\\\g<0>", _SPECIAL.sub(lambda found: _ENTITIES[found[0]], line))
    return line.replace(_MARK, _BREAK)


def shorten(text: str, most: int) -> str:
    """At most `most` characters, the last three dots where something was cut off."""
    return text if len(text) <= most else text[: most - 3].rstrip() + "..."


def table(heads: Iterable[str], rows: Iterable[Iterable[str]], most: int, left: int = 0) -> list[str]:
    """Lines of a table that has at most `most` bytes; a last line says how many rows did not fit.

    Args:
        heads: ours, not escaped.
        rows: of escaped cells.
        left: rows that are not even among them.
    """
    names = list(heads)
    lines = [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]
    used, full = sum(map(size, lines)), False
    for row in rows:
        line = f"| {' | '.join(row)} |"
        used += size(line)
        if full := full or used > most:
            left += 1
        else:
            lines.append(line)
    if left:
        lines.append(f"| ... {left} more |" + " |" * (len(names) - 1))
    return lines


def size(line: str) -> int:
    """Bytes of a line in a file."""
    return len(line.encode("utf-8", "replace")) + 1
