"""YAML text to plain data that remembers where each key and value stands; refuses YAML's sharp edges."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Protocol

import yaml

Path = tuple[str | int, ...]


class Mark(Protocol):
    """A place in the text, counted from 0."""

    line: int
    column: int


MAX_DEPTH = 20
MAX_EVENTS = 10_000  # a policy has a few dozen; a file that is none of ours is told so in half a second
_TAGS = {"map", "seq", "str", "int", "float", "bool", "null"}
# YAML 1.1 reads 1e-3 as text, because it wants a point before the e; everybody means a number.
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; line and column count from 1, None where it is about the whole file."""

    sentence: str
    line: int | None = None
    column: int | None = None


@dataclass
class Document:
    """`data`: dicts, lists, text, numbers, booleans, None. The rest is told by path, e.g. `("exposure", "seeds")`."""

    data: object = None
    keys: dict[Path, Mark] = field(default_factory=dict)  # where the key (or the item) stands
    values: dict[Path, Mark] = field(default_factory=dict)
    written: dict[Path, str] = field(default_factory=dict)  # scalars as they stand in the file
    problems: list[Problem] = field(default_factory=list)


def at(mark: Mark | None, sentence: str) -> Problem:
    """A problem at a mark (which counts from 0)."""
    return Problem(sentence, mark.line + 1, mark.column + 1) if mark else Problem(sentence)


def parse(text: str, kind: str = "policy", *, max_events: int = MAX_EVENTS, fast: bool = False) -> Document:
    """Read one YAML document; what is wrong with it is in `problems`, and `data` counts only where there are none.

    `kind` is what the document should be, for the sentences. `fast` is for documents of tens of thousands of lines:
    libyaml reads them where it is there, and says what is no YAML in words of its own.
    """
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader) if fast else yaml.SafeLoader
    document = Document()
    bad = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if bad:
        before = text[: bad.start()]
        line, column = before.count("\n") + 1, bad.start() - (before.rfind("\n") + 1) + 1
        document.problems.append(Problem(f"character U+{ord(bad.group()):04X} is not allowed", line, column))
        return document
    try:
        problem = _refuse(text, kind, max_events, loader)
        if problem is None:
            root = yaml.compose(text, Loader=loader)
            if root is not None:
                document.data = _plain(root, (), document)
            return document
    except yaml.MarkedYAMLError as error:
        sentence = " ".join(part for part in (error.context, error.problem) if part)
        problem = at(error.problem_mark or error.context_mark, f"is not valid YAML: {sentence}")
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # "\\UFFFFFFFF", %YAML 1.999...: PyYAML lets them out
        told = (str(error).splitlines() or [type(error).__name__])[0]
        problem = Problem(f"is not valid YAML: {told[:200]}")
    document.problems.append(problem)
    return document


def _refuse(text: str, kind: str, max_events: int, loader: Any) -> Problem | None:
    """Aliases, anchors, further documents, deep nesting and endless lists, seen before anything is built from them."""
    depth = documents = 0
    for count, event in enumerate(yaml.parse(text, Loader=loader)):
        if count == max_events:
            return at(event.start_mark, f"goes on for longer than any {kind} does")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                return at(event.start_mark, f"a {kind} is one document, and a second one starts here")
        elif isinstance(event, yaml.AliasEvent):
            return at(event.start_mark, f"aliases are not allowed in a {kind}: write the value out (*{event.anchor})")
        elif isinstance(event, yaml.NodeEvent) and event.anchor:
            return at(event.start_mark, f"anchors are not allowed in a {kind}: remove &{event.anchor}")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return at(event.start_mark, f"nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


def _plain(node: yaml.Node, path: Path, document: Document) -> object:
    document.values[path] = node.start_mark
    tag = node.tag.removeprefix("tag:yaml.org,2002:")
    if tag not in _TAGS:
        kind = "a date: put it in quotes" if tag == "timestamp" else f"tagged {node.tag}, which is not allowed"
        written = repr(node.value) if isinstance(node, yaml.ScalarNode) else "this"
        document.problems.append(at(node.start_mark, f"{written} is {kind}"))
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, index), document) for index, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)
    document.written[path] = node.value
    if tag == "str" and node.style is None and _EXPONENT.fullmatch(node.value):
        return float(node.value)
    try:
        value: object = yaml.constructor.SafeConstructor().construct_object(node)
        str(value).encode()  # half a surrogate pair, or more digits than Python writes
        return value
    except (ValueError, KeyError, IndexError):  # IndexError: a tag of a number, and no number
        document.problems.append(at(node.start_mark, f"{node.value[:40]!r} cannot be read as {tag}"))
        return None


def _mapping(node: yaml.MappingNode, path: Path, document: Document) -> dict[str, object]:
    found: dict[str, object] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
            written = f" {key_node.value!r}" if isinstance(key_node, yaml.ScalarNode) else ""
            document.problems.append(at(key_node.start_mark, f"key{written} must be text"))
            continue
        key = key_node.value
        if key in found:
            first = document.keys[*path, key].line + 1
            document.problems.append(at(key_node.start_mark, f"{key!r} stands here twice, first on line {first}"))
            continue
        document.keys[*path, key] = key_node.start_mark
        found[key] = _plain(value_node, (*path, key), document)
    return found
