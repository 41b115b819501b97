"""The reports of an audit: one file a format, and a folder with an index and a page a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...evidence.audit import Audit
from ...evidence.errors import ScanError, UsageError
from ..audit.assemble import audit_from, given_of
from ..audit.audits import AuditRow, Entry, entries_of
from ..audit.store import Store
from ..reports.audit_formats import AUDIT_FORMATS
from ..reports.formats import FORMATS
from ..reports.write import check_folder, check_writable, write_atomically
from .run import echo, is_stdout

INDEX, PAGES = "index.html", "models"
_OURS = b"ebyd-scan"  # an index of ours names its maker in its head


def check_places(reports: Mapping[str, Path | None], inputs: list[Path]) -> None:
    """See that every report can be written, before any work is done. Raises UsageError."""
    files = {f"--{name}": path for name, path in reports.items() if path and name != "html"}
    check_writable({option: path for option, path in files.items() if not is_stdout(path)}, inputs=inputs)
    if len(streams := [option for option, path in files.items() if is_stdout(path)]) > 1:
        raise UsageError(f"{' and '.join(streams)} would both be written to standard output")
    folder = reports.get("html")
    if folder is None:
        return
    if is_stdout(folder):
        raise UsageError("--html -: is a folder with an index and a page a model, which does not go to a stream")
    check_folder("--html", folder, inputs)
    if folder.is_dir() and any(folder.iterdir()) and not _is_ours(folder / INDEX):
        raise UsageError(
            f"--html {folder}: holds files that are not an earlier report; name a folder that is new or empty"
        )


def _is_ours(index: Path) -> bool:
    try:
        with index.open("rb") as file:
            return _OURS in file.read(4096)
    except OSError:
        return False


def write_reports(store: Store, row: AuditRow, reports: Mapping[str, Path | None]) -> tuple[Audit, list[str]]:
    """Write what was asked for; the audit, and what went wrong."""
    problems: list[str] = []
    pages: dict[str, str] = {}
    if folder := reports.get("html"):
        try:
            pages = _write_pages(store, row, folder)
        except ScanError as problem:
            problems.append(str(problem))
    audit = audit_from(store, row, pages)
    for name, form in AUDIT_FORMATS.items():
        path = reports.get(name)
        if path is None:
            continue
        try:
            text = form.render(audit)
            if name == "html":
                write_atomically(path / INDEX, text)
            elif is_stdout(path):
                echo(text)
            else:
                write_atomically(path, text)
        except ScanError as problem:
            problems.append(str(problem))
    return audit, problems


def _write_pages(store: Store, row: AuditRow, folder: Path) -> dict[str, str]:
    """A page for each model that has ended, by name; one of the same findings that is there stays as it is."""
    try:
        (folder / PAGES).mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ScanError(f"{folder}: cannot be made: {problem.strerror}") from None
    pages = {}
    for entry in entries_of(store, row.id):
        if not entry.ended or entry.policy is None:
            continue
        place = folder / PAGES / _name(entry)
        pages[entry.name] = f"{PAGES}/{place.name}"
        if (not _is_final(entry) or not place.exists()) and (given := given_of(store, entry)):
            write_atomically(place, FORMATS["html"].render(given))
    return pages


def _name(entry: Entry) -> str:
    """Of the page: other findings have another name, so that a page is written once."""
    stem = entry.name[:150]
    return f"{stem}.{(entry.key or '')[:12]}.html" if _is_final(entry) else f"{stem}.html"


def _is_final(entry: Entry) -> bool:
    """Whether the same findings are all that there will be."""
    return bool(entry.key) and not entry.error and not entry.unsearched
