"""Reads a pickle without running it: a symbolic stack machine that resolves every global the pickle would import."""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import IO, Final, NamedTuple, Protocol, cast

_MAX_LINE: Final = 1 << 20  # bytes; a longer line is no global's name
_MAX_HELD: Final = 2_000_000  # values on the stack, or in the memo: a pickle's byte can cost a hundred of ours
_MAX_GLOBALS: Final = 10_000  # TorchScript names one a submodule
MAX_STEPS: Final = 5_000_000  # opcodes, five seconds on an idle machine: a model's pickle has a few dozen a tensor
_OPCODES: Final = {op.code: op for op in pickletools.opcodes}
_CALLS: Final = frozenset({"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_STRINGS: Final = frozenset(
    {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
)
_NUMBERS: Final = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG"})
_STORAGE_ID: Final = (5, 6)  # ("storage", class, key, device, numbers), in legacy files with a view behind it


class Storage(NamedTuple):
    """What a pickle says about one of the storages that its tensors lie in."""

    kind: str  # "FloatStorage"
    key: str  # its name in the file
    numbers: int


class ByteStream(Protocol):
    """What is needed of a file."""

    def read(self, size: int = -1, /) -> bytes: ...
    def readline(self, size: int = -1, /) -> bytes: ...


@dataclass
class PickleReport:
    """What one pickle would do; globals seen before it broke are in it, because unpickling runs them too."""

    globals: list[tuple[str, str]] = field(default_factory=list)  # (module, name), in order, each once
    storages: dict[str, Storage] = field(default_factory=dict)  # by key
    odd_references: int = 0  # to something outside the pickle that is no storage as torch writes it
    calls: int = 0  # opcodes that call or build something
    steps: int = 0  # opcodes
    exhausted: bool = False  # given up for their number
    changed: list[tuple[str, str]] = field(default_factory=list)  # globals whose own attributes it would set
    complete: bool = False  # reached STOP
    length: int = 0  # bytes read
    error: str | None = None


class _Bounded:
    """A stream that refuses to read beyond a limit, so that a declared length of terabytes allocates nothing."""

    def __init__(self, stream: ByteStream, limit: int) -> None:
        self.stream, self.limit, self.used = stream, limit, 0

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > self.limit - self.used:
            raise ValueError("runs past the end")
        data = self.stream.read(size)
        self.used += len(data)
        return data

    def readline(self) -> bytes:
        data = self.stream.readline(min(_MAX_LINE, self.limit - self.used))
        self.used += len(data)
        return data


class _Mark:
    """The unpickler's mark on the stack."""


class _Global(NamedTuple):
    """Something that the pickle would import."""

    module: str
    name: str


_MARK: Final = _Mark()
# A known string, number or global, five or six of these, the mark, or anything else.
_Value = str | int | _Global | tuple["_Value", ...] | _Mark | None


class _Machine:
    """Follows strings and numbers through stack and memo: STACK_GLOBAL and references to storages are made of them."""

    def __init__(self, report: PickleReport) -> None:
        self.report, self.stack, self.memo = report, list[_Value](), dict[int, _Value]()
        self.used = set[tuple[str, str]]()

    def use(self, module: str, name: str) -> _Global:
        if (module, name) not in self.used:
            self.used.add((module, name))
            self.report.globals.append((module, name))
            if len(self.used) > _MAX_GLOBALS:
                raise ValueError(f"imports more than {_MAX_GLOBALS:,} things")
        return _Global(module, name)

    def step(self, op: pickletools.OpcodeInfo, arg: object) -> None:
        name = op.name
        self.report.steps += 1
        if len(self.stack) > _MAX_HELD or len(self.memo) > _MAX_HELD:
            raise ValueError(f"holds more than {_MAX_HELD:,} values at once")
        if name in _CALLS:
            self.report.calls += 1
        if name == "BUILD" and len(self.stack) > 1 and isinstance(changed := self.stack[-2], _Global):
            self.report.changed.append((changed.module, changed.name))
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[int(str(arg))] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[int(str(arg))])
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        elif name == "POP":
            self.stack.pop()
        elif name == "STACK_GLOBAL":
            attribute, module = self.stack.pop(), self.stack.pop()
            known = isinstance(module, str) and isinstance(attribute, str)
            names = (str(module), str(attribute)) if known else ("unknown", "computed at run time")
            self.stack.append(self.use(*names))
        elif name == "TUPLE":
            self.stack.append(self._tuple())
        elif name == "BINPERSID":
            self._refer(self.stack.pop())
            self.stack.append(None)
        else:
            if name in ("GLOBAL", "INST") and isinstance(arg, tuple):
                self.use(*arg)
            elif name in ("EXT1", "EXT2", "EXT4"):
                self.use("copyreg", f"extension {arg}")
            self._stack_effect(op)
            if name in _STRINGS:
                self.stack[-1] = str(arg)
            elif name == "GLOBAL" and isinstance(arg, tuple):
                self.stack[-1] = _Global(*arg)
            elif name in _NUMBERS and isinstance(arg, int) and 0 <= arg < 1 << 63:
                self.stack[-1] = arg

    def _tuple(self) -> _Value:
        """Takes all down to the mark; kept only where it may refer to a storage, and never tuples within tuples."""
        values = list[_Value]()
        while (value := self.stack.pop()) is not _MARK:
            if len(values) <= max(_STORAGE_ID):
                values.append(None if type(value) is tuple else value)
        return tuple(reversed(values)) if len(values) in _STORAGE_ID else None

    def _refer(self, value: _Value) -> None:
        if value is _MARK:
            raise ValueError("takes the mark for a value")
        match value:
            case ("storage", _Global(_, kind), str(key), _, int(numbers), *_):
                self.report.storages[key] = Storage(kind, key, numbers)
            case _:
                self.report.odd_references += 1

    def _stack_effect(self, op: pickletools.OpcodeInfo) -> None:
        before = op.stack_before
        below = len(before)
        if pickletools.markobject in before:
            below = before.index(pickletools.markobject)
            while self.stack.pop() is not _MARK:
                pass
        for _ in range(below):
            if self.stack.pop() is _MARK:
                raise ValueError("takes the mark for a value")
        for kind in op.stack_after:
            self.stack.append(_MARK if kind is pickletools.markobject else None)


def _argument(op: pickletools.OpcodeInfo, stream: _Bounded) -> object:
    if op.name in ("GLOBAL", "INST"):  # pickletools takes ASCII only, the unpickler any UTF-8
        lines = stream.readline(), stream.readline()
        if not all(line.endswith(b"\n") for line in lines):
            raise ValueError("is cut off in a global")
        return tuple(line[:-1].decode("utf-8", "backslashreplace") for line in lines)
    return None if op.arg is None else op.arg.reader(cast(IO[bytes], stream))


def walk_pickle(stream: ByteStream, limit: int, max_steps: int = MAX_STEPS) -> PickleReport:
    """Follow the one pickle that starts at the stream's position, at most `limit` bytes; nothing is imported.

    After `max_steps` opcodes it is given up as broken, and `exhausted`.

    Never raises for what the bytes hold: a pickle that breaks has `error` set and `complete` False.
    """
    report, bounded = PickleReport(), _Bounded(stream, limit)
    machine = _Machine(report)
    try:
        while True:
            code = bounded.read(1)
            if not code:
                raise ValueError("ends before its STOP")
            op = _OPCODES.get(code.decode("latin-1"))
            if op is None:
                raise ValueError(f"has the unknown opcode {code!r}")
            argument = _argument(op, bounded)
            if op.name == "STOP":
                if machine.stack.pop() is _MARK:
                    raise ValueError("ends in the middle of a value")
                report.complete = True
                break
            if report.steps >= max_steps:
                report.exhausted = True
                raise ValueError("has more opcodes than can be looked at")
            machine.step(op, argument)
    except IndexError:
        report.error = "takes more from the stack than there is"
    except KeyError:
        report.error = "reads a memo that was never written"
    except (ValueError, OverflowError, ArithmeticError) as error:  # UnicodeDecodeError is a ValueError
        report.error = str(error)[:120]
    report.length = bounded.used
    return report
