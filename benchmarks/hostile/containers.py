"""Model formats that hide a pickle or code, headers that lie, polyglots, folders, and what is no model at all."""

from __future__ import annotations

import json
import os
import pickle
import socket
import struct
from pathlib import Path

from .assemble import called, checkpoint, entry, stream, system, tensor_file, value, zipped
from .case import Payload, group

CASES = group("formats and headers")
FOLDERS = group("folders and places")
_GOOD = pickle.dumps({"epoch": 3})
_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # legacy files of torch.save begin with it


def _write(folder: Path, data: bytes, name: str = "model.pt") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _npy(payload: Payload, version: int = 1) -> bytes:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    width = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + width + header + system(payload.command)


@CASES()
def legacy_checkpoint(folder: Path, payload: Payload) -> Path:
    return _write(folder, _MAGIC + pickle.dumps(1001, 2) + system(payload.command))


@CASES()
def behind_the_weights_of_a_legacy_checkpoint(folder: Path, payload: Payload) -> Path:
    head = _MAGIC + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    return _write(folder, head + pickle.dumps({}, 2) + pickle.dumps([], 2) + bytes(64) + system(payload.command))


@CASES()
def in_the_fourth_pickle_of_a_legacy_checkpoint(folder: Path, payload: Payload) -> Path:
    head = _MAGIC + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    return _write(folder, head + system(payload.command) + pickle.dumps([], 2))


@CASES()
def wrong_magic_number(folder: Path, payload: Payload) -> Path:
    """The first pickle is unpickled before anybody compares it."""
    return _write(folder, stream(called("posix", "system", (payload.command,)) + b"0\x8a\x01l") + _GOOD)


@CASES()
def npy_in_an_archive(folder: Path, payload: Payload) -> Path:
    return _write(folder, zipped({"a/data.pkl": _GOOD, "a/x.npy": _npy(payload)}))


@CASES()
def npy_of_version_3_in_an_archive(folder: Path, payload: Payload) -> Path:
    return _write(folder, zipped({"a/data.pkl": _GOOD, "a/x": _npy(payload, 3)}))


@CASES(3)
def npy(folder: Path, payload: Payload) -> Path:
    return _write(folder, _npy(payload), "weights.npy")


@CASES(3)
def npz(folder: Path, payload: Payload) -> Path:
    return _write(folder, zipped({"arr_0.npy": _npy(payload)}), "weights.npz")


@CASES()
def npz_with_another_suffix(folder: Path, payload: Payload) -> Path:
    return _write(folder, zipped({"arr_0.npy": _npy(payload)}), "weights.pt")


@CASES()
def sample_inputs_of_an_exported_program(folder: Path, payload: Payload) -> Path:
    """torch.export.load 2.13 unpickles them without restriction."""
    inner = checkpoint(system(payload.command))
    members = {"m/archive_format": b"pt2", "m/models/model.json": b"{}", "m/data/sample_inputs/model.pt": inner}
    return _write(folder, zipped(members), "model.pt2")


@CASES()
def guards_of_an_exported_program(folder: Path, payload: Payload) -> Path:
    document = json.dumps({"guards_code": [payload.code], "graph_module": {}}).encode()
    return _write(folder, zipped({"m/archive_format": b"pt2", "m/models/model.json": document}), "model.pt2")


@CASES()
def expression_of_an_exported_program(folder: Path, payload: Payload) -> Path:
    document = json.dumps({"range_constraints": {}, "x": {"as_expr": {"expr_str": payload.code}}}).encode()
    return _write(folder, zipped({"m/archive_format": b"pt2", "m/models/model.json": document}), "model.pt2")


@CASES()
def library_in_an_exported_program(folder: Path, payload: Payload) -> Path:
    members = {"m/archive_format": b"pt2", "m/data/aotinductor/model/x.so": b"\x7fELF"}
    return _write(folder, zipped(members), "model.pt2")


@CASES()
def deep_JSON_in_an_exported_program(folder: Path, payload: Payload) -> Path:
    members = {"m/archive_format": b"pt2", "m/models/model.json": b"[" * 100_000}
    return _write(folder, zipped(members), "model.pt2")


def _script(folder: Path, code: bytes, constants: bytes = b"\x80\x02).") -> Path:
    body = b"class M(Module):\n  def forward(self: __torch__.M, x: Tensor) -> Tensor:\n" + code + b"    return x\n"
    members = {"m/data.pkl": b"\x80\x02c__torch__\nM\n)\x81}b.", "m/constants.pkl": constants}
    return _write(folder, zipped(members | {"m/code/__torch__.py": body, "m/version": b"3\n"}))


def _touching(name: str, code: bytes) -> None:
    def make(folder: Path, payload: Payload) -> Path:
        return _script(folder, code.replace(b"CANARY", os.fsencode(payload.canary)))

    CASES.add(f"TorchScript that touches files: {name}", make)


for _name, _code in {
    "torch.save": b'    torch.save(x, "CANARY")\n',
    "blanks": b'    torch . from_file ("CANARY", True, 3)\n',
    "line ends": b'    torch.\\\n  from_file("CANARY", True, 3)\n',
    "brackets": b'    (torch).from_file("CANARY", True, 3)\n',
    "ops": b'    ops . aten . from_file("CANARY", True, 3)\n',
    "another name for torch": b'    a = torch\n    getattr(a, "from" "_file")("CANARY", True, 3)\n',
    "getattr": b'    getattr(torch, "\\x66rom_file")("CANARY", True, 3)\n',
    "another name for the operators": b'    a = ops.aten\n    getattr(a, "from" "_file")("CANARY", True, 3)\n',
    "operators of a library": b'    ops.image.write_file("CANARY", x)\n',
}.items():
    _touching(_name, _code)


@CASES()
def constants_of_TorchScript(folder: Path, payload: Payload) -> Path:
    return _script(folder, b"", system(payload.command))


@CASES()
def archive_in_TorchScript_code(folder: Path, payload: Payload) -> Path:
    members = {"m/data.pkl": _GOOD, "m/constants.pkl": b"\x80\x02).", "m/code/__torch__.py": b"pass"}
    return _write(folder, zipped(members | {"m/extra/x": checkpoint(system(payload.command))}))


@CASES(live=True)
def safetensors_that_is_a_pickle_too(folder: Path, payload: Payload) -> Path:
    """The header's length reads as "128 bytes follow", and the rest of the header as texts of 126 characters each.

    safetensors sees a tensor and a long remark; `torch.load` unpickles what stands where the weights begin.
    """
    body = called("posix", "system", (payload.command,)) + b"."
    body += bytes(-len(body) % 4)
    length, swallowed = 0x8042, 0x80
    table = json.dumps({"w": entry(0, len(body), (len(body) // 4,))}, separators=(",", ":"))[:-1]
    start = f'{table},"__metadata__":{{"a":"'.encode().ljust(swallowed - 3, b"a")
    texts = b""
    while len(start) + len(texts) < length:
        rest = min(126, length - len(start) - len(texts) - 2)
        texts += b"U" + bytes([rest]) + b"a" * rest
    header = start + texts[:-3] + b'"}}'
    return _write(folder, tensor_file(header, body), "model.pt")


@CASES()
def safetensors_that_is_an_archive_too(folder: Path, payload: Payload) -> Path:
    body = checkpoint(system(payload.command))
    table = {"weight": entry(0, len(body), (len(body),), "U8")}
    return _write(folder, tensor_file(table, body), "model.safetensors")


def _lie(name: str, header: bytes | dict[str, object], body: bytes = bytes(8)) -> None:
    def make(folder: Path, payload: Payload) -> Path:
        return _write(folder, tensor_file(header, body), "model.safetensors")

    CASES.add(f"safetensors header: {name}", make)


_lie("tensors that overlap", {"a": entry(0, 8, (2,)), "b": entry(4, 8)})
_lie("tensor outside", {"a": entry(0, 1 << 40, (1 << 38,))})
_lie("bytes of nobody", {"a": entry(0, 4)})
_lie("shape that does not fit", {"a": entry(0, 8, (1 << 60,))})
_lie("shape below zero", {"a": entry(0, 8, (-2,))})
_lie("a key twice", b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{}}')
_lie("deep JSON", b"[" * 200_000)
_lie("no object", b"[1, 2]")
_lie("no UTF-8", b'{"\xff\xfe": 1}')
_lie("a number of many digits", b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}')
_lie("infinite number", b'{"a":{"dtype":"F32","shape":[Infinity],"data_offsets":[0,8]}}')
_lie("a million dimensions", {"a": entry(0, 8, (9_223_372_036_854_775_807,) * 200_000)})


@CASES()
def safetensors_with_a_late_double_key(folder: Path, payload: Payload) -> Path:
    """Finding it must not compare every name with every other."""
    names = [f'"{index}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for index in range(30_000)]
    return _write(folder, tensor_file(("{" + ",".join([*names, names[-1]]) + "}").encode(), b""), "model.safetensors")


@CASES()
def safetensors_header_that_unfolds(folder: Path, payload: Payload) -> Path:
    """Twenty megabytes of brackets, which JSON turns into gigabytes."""
    return _write(folder, tensor_file(b'{"a":[' + b"{}," * 7_000_000 + b"{}]}"), "model.safetensors")


@CASES()
def safetensors_length_of_exbibytes(folder: Path, payload: Payload) -> Path:
    return _write(folder, struct.pack("<Q", 1 << 62) + b"{}", "model.safetensors")


@CASES(3)
def PDF_that_is_an_archive_too(folder: Path, payload: Payload) -> Path:
    return _write(folder, b"%PDF-1.7\n" + checkpoint(system(payload.command)), "paper.pdf")


@CASES(3)
def HDF5_with_a_huge_data_set(folder: Path, payload: Payload) -> Path:
    """Superblock and a data set of exbibytes; HDF5 is not opened, whatever it says."""
    return _write(folder, b"\x89HDF\r\n\x1a\n" + bytes(64) + struct.pack("<Q", 1 << 62), "model.h5")


@CASES(3)
def HDF5_with_the_suffix_of_torch(folder: Path, payload: Payload) -> Path:
    return _write(folder, b"\x89HDF\r\n\x1a\n" + bytes(64) + system(payload.command), "model.pt")


@CASES(3)
def Keras_archive_with_a_Lambda(folder: Path, payload: Payload) -> Path:
    config = json.dumps({"class_name": "Lambda", "config": {"function": [payload.code, None, None]}}).encode()
    return _write(folder, zipped({"config.json": config, "metadata.json": b"{}"}), "model.keras")


# Folders, and what is no file


def _folder(folder: Path, **files: bytes) -> Path:
    place = folder / "model"
    place.mkdir()
    named = {"config.json": b'{"model_type": "bert"}', "model.safetensors": tensor_file({"a": entry(0, 8, (2,))})}
    for name, data in (named | files).items():
        path = place / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return place


def _beside(name: str) -> None:
    def make(folder: Path, payload: Payload) -> Path:
        return _folder(folder, **{name: system(payload.command)})

    FOLDERS.add(f"{name.replace('__', '/')} beside good safetensors", make)


for _file in (
    "pytorch_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "extra.pkl",
    "2_Dense__pytorch_model.bin", "notes.txt", "vocab.joblib", ".metadata", "__0_0.distcp",
):  # fmt: skip
    _beside(_file.replace("__0", "0"))


@FOLDERS()
def archive_beside_good_safetensors(folder: Path, payload: Payload) -> Path:
    return _folder(folder, **{"pytorch_model.bin": checkpoint(system(payload.command))})


@FOLDERS(3)
def deep_configuration(folder: Path, payload: Payload) -> Path:
    return _folder(folder, **{"config.json": b"[" * 100_000})


@FOLDERS(3)
def index_that_leads_out(folder: Path, payload: Payload) -> Path:
    place = _folder(folder, **{"model.safetensors.index.json": b'{"weight_map": {"a": "../../x.safetensors"}}'})
    (place / "model.safetensors").unlink()
    return place


@FOLDERS(3)
def index_that_is_a_loop_of_links(folder: Path, payload: Payload) -> Path:
    place = _folder(folder)
    (place / "model.safetensors").unlink()
    (place / "model.safetensors").symlink_to("model.safetensors")
    return place


@FOLDERS(3)
def loop_of_links(folder: Path, payload: Payload) -> Path:
    (folder / "a.pt").symlink_to("b.pt")
    (folder / "b.pt").symlink_to("a.pt")
    return folder / "a.pt"


def _link(name: str, target: str) -> None:
    def make(folder: Path, payload: Payload) -> Path:
        (folder / "model.pt").symlink_to(target)
        return folder / "model.pt"

    FOLDERS.add(f"link to {name}", make, 3)


for _target in ("/dev/zero", "/dev/random", "/proc/self/mem", "/proc/self/fd/0", "/dev/tty", "/nowhere", "/"):
    _link(_target, _target)


@FOLDERS(3)
def pipe(folder: Path, payload: Payload) -> Path:
    os.mkfifo(folder / "model.pt")
    return folder / "model.pt"


@FOLDERS(3)
def weights_that_are_a_pipe(folder: Path, payload: Payload) -> Path:
    place = _folder(folder)
    (place / "model.safetensors").unlink()
    os.mkfifo(place / "model.safetensors")
    return place


@FOLDERS(3)
def local_socket(folder: Path, payload: Payload) -> Path:
    here = Path.cwd()
    os.chdir(folder)  # a socket's path may have a hundred bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("model.pt")
    finally:
        os.chdir(here)
    return folder / "model.pt"


@FOLDERS()
def name_with_control_characters(folder: Path, payload: Payload) -> Path:
    return _write(folder, system(payload.command), "mo\x1b[2J\x07\u202edel\n.pt")


@FOLDERS()
def member_with_control_characters(folder: Path, payload: Payload) -> Path:
    return _write(folder, zipped({"a/data.pkl": _GOOD, "a/\x1b[2J\u202e\u2066.pkl": system(payload.command)}))


@FOLDERS()
def global_with_control_characters(folder: Path, payload: Payload) -> Path:
    return _write(folder, stream(b"cos\x1b[2J\nsystem\x07\n" + value((payload.command,)) + b"R"), "model.pkl")
