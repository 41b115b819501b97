"""What the HTML pages have in common: how their templates are filled, and dates."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .figures import number, percent
from .html_names import clip
from .printable import one_line

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent  # of templates, styles and scripts


def environment(text: int) -> Environment:
    """Of the templates here: every value is one line, printable, at most `text` characters, and escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        if isinstance(value, str) and not isinstance(value, Markup):
            return clip(one_line(value[: text + 1]), text)
        return value

    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(percent=percent, number=number)
    # Ours, files of the package: shown as they are, and there is no way out of them.
    made.filters["stylesheet"] = lambda ours: Markup(unclosed(ours))
    return made


def unclosed(ours: str) -> str:
    """A style or script of ours as it stands in a page, where nothing may end the element."""
    return ours.replace("</", "<\\/")


def moment(started: str) -> dict[str, str | None]:
    """A date that a person reads and one that machines do; as it is where it is none."""
    try:
        date = datetime.fromisoformat(started)
    except ValueError:
        return {"text": started, "iso": None}
    zone = date.tzname() or "no time zone given"
    return {"text": f"{date.day} {date:%B %Y, %H:%M} {zone}", "iso": date.isoformat()}
