"""Which class index a class folder stands for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ...evidence.errors import ScanError
from .source import MAX_CLASSES, listed

CLASSES_FILE = "classes.txt"
_MAX_FILE = 10 * 2**20  # bytes of a classes.txt
_INDEX = re.compile(r"[0-9]{1,9}")
_MAPPING = re.compile(r"(?P<name>.+?)[\t ,]\s*(?P<index>[+-]?\d+)")


def class_indices(
    root: Path, folders: Sequence[str], classes_file: Path | None, class_names: Mapping[int, str] = MappingProxyType({})
) -> tuple[dict[str, int], dict[int, str]]:
    """Return the class index of every folder name, and the names of the classes.

    In this order: `classes_file` or `root`/classes.txt decides; folders that are called as the model's own
    `class_names` have their index; folders that are all numbers are their own index (gaps allowed); others count in
    sorted order, as torchvision's ImageFolder does it.
    Raises ScanError for a mix of numbers and names, for folders of which only some are called as the model's classes,
    for all that is wrong with classes.txt.
    """
    if classes_file is None and (root / CLASSES_FILE).is_file():
        classes_file = root / CLASSES_FILE
    if classes_file is not None:
        return _from_file(classes_file, root, folders)
    own = {index: name for index, name in class_names.items() if 0 <= index < MAX_CLASSES}
    known = set(folders) & set(own.values())
    if folders and len(known) == len(folders):  # before numbers: "10" may be the third class, as names are sorted
        return _by_own_name(root, folders, own), own
    numbered = [name for name in folders if _INDEX.fullmatch(name)]
    if not numbered:
        if known:
            raise ScanError(
                f"{root}: class folders {listed(sorted(known), 2)} are called as the model calls its classes, "
                f"{listed(sorted(set(folders) - known), 2)} are not; rename them, or say in {CLASSES_FILE} which index "
                "each has"
            )
        order = sorted(folders)
        return {name: index for index, name in enumerate(order)}, dict(enumerate(order))
    if len(numbered) < len(folders):
        named = [name for name in folders if not _INDEX.fullmatch(name)]
        raise ScanError(
            f"{root}: class folders named by index ({listed(numbered, 2)}) and by name ({listed(named, 2)}) are mixed; "
            f"rename them, or say in {CLASSES_FILE} which index each has"
        )
    return _by_number(root, numbered), {}


def _by_own_name(root: Path, folders: Sequence[str], own: Mapping[int, str]) -> dict[str, int]:
    counts = Counter(own.values())
    twice = [name for name in folders if counts[name] > 1]
    if twice:
        raise ScanError(
            f"{root}: the model calls more than one class {listed(twice, 2)}; say in {CLASSES_FILE} which index each "
            "folder has"
        )
    return {name: index for index, name in own.items() if name in folders}


def _by_number(root: Path, folders: Sequence[str]) -> dict[str, int]:
    indices: dict[str, int] = {}
    first: dict[int, str] = {}
    for name in sorted(folders):
        twin = first.setdefault(int(name), name)
        if twin != name:
            raise ScanError(f"{root}: folders {twin!r} and {name!r} are the same class; put their images into one")
        indices[name] = int(name)
    return indices


def _from_file(file: Path, root: Path, folders: Sequence[str]) -> tuple[dict[str, int], dict[int, str]]:
    lines = _lines(file)
    texts = [text for _, text in lines]
    matches = [_MAPPING.fullmatch(text) for text in texts]
    # "terminal 1" may be a name and an index or just a name: the folders decide.
    if not any(matches) or set(folders) <= set(texts):
        _no_duplicates(file, [(number, text) for number, text in lines])
        indices = {text: index for index, text in enumerate(texts)}
    else:
        indices = {}
        taken = set[int]()
        for (number, text), match in zip(lines, matches, strict=True):
            if match is None:
                raise ScanError(
                    f"{file}, line {number}: {text!r} has no class index, other lines have one; write a name and an "
                    f"index on every line, or names alone in order of index"
                )
            index = int(match["index"]) if len(match["index"]) < 10 else MAX_CLASSES
            if not 0 <= index < MAX_CLASSES:
                raise ScanError(f"{file}, line {number}: {match['index']} is not a class index; they count from 0")
            if index in taken:
                raise ScanError(f"{file}, line {number}: index {index} stands there twice; give every class its own")
            name = match["name"].strip(" \t,")
            if name in indices:
                raise ScanError(f"{file}, line {number}: class {name!r} stands there twice; name every class once")
            indices[name] = index
            taken.add(index)
    names = {index: name for name, index in indices.items()}
    if folders and not set(folders) & set(indices) and all(_INDEX.fullmatch(name) for name in folders):
        numbered = _by_number(root, folders)  # numbered folders, classes.txt only says what they show
        if set(numbered.values()) <= set(names):
            return numbered, names
    unknown = sorted(set(folders) - set(indices))
    if unknown:
        last = lines[-1][0] if lines else 0
        raise ScanError(
            f"{file}: class folder {listed(unknown)} is on none of its {last} lines; add it, or rename the folder"
        )
    return {name: indices[name] for name in folders}, names


def _lines(file: Path) -> list[tuple[int, str]]:
    """Line numbers and texts of a classes.txt; blank lines are allowed only at the end, as they would shift indices."""
    try:
        if file.stat().st_size > _MAX_FILE:
            raise ScanError(f"{file}: larger than {_MAX_FILE // 2**20} MiB; it should be one class name a line")
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ScanError(
            f"{file}: cannot be read ({error}); it should be a UTF-8 text, one class name a line"
        ) from error
    lines = [(number, line.strip()) for number, line in enumerate(text.rstrip().splitlines(), 1)]
    for number, line in lines:
        if not line:
            raise ScanError(f"{file}, line {number}: is blank; remove it, as a class's index is its line")
    if len(lines) > MAX_CLASSES:
        raise ScanError(f"{file}: has {len(lines)} lines, more than the {MAX_CLASSES} classes that can be scanned")
    return lines


def _no_duplicates(file: Path, lines: Sequence[tuple[int, str]]) -> None:
    seen: dict[str, int] = {}
    for number, name in lines:
        if name in seen:
            raise ScanError(f"{file}, line {number}: class {name!r} stands on line {seen[name]} already; name it once")
        seen[name] = number
