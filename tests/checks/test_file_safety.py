"""The file check against real hostile files. Every one of them would write a canary if it were loaded."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from ebyd_scan.checks.file_safety import FileSafety
from ebyd_scan.checks.pickle_walk import walk_pickle
from ebyd_scan.evidence.context import Evidence
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.scanner.models.identify import identify

torch = pytest.importorskip("torch")


class Evil:
    """Pickles to a call of os.system."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.canary}",)


def check(path: Path, *, allow_pickle: bool = False, trusted: tuple[str, ...] = (), **limits: object) -> Finding:
    evidence = Evidence(artifact=identify(path), seed=0, allow_pickle=allow_pickle, trusted_modules=trusted)
    return FileSafety(**limits).run(evidence)  # type: ignore[arg-type]


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def saved(value: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def repacked(data: bytes, **changes: bytes) -> bytes:
    """The same archive with members (named by their last part, dots as underscores) replaced."""
    members = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            members[name] = changes.get(name.rsplit("/", 1)[-1].replace(".", "_"), archive.read(name))
    return zipped(members)


def exported() -> bytes:
    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

    program = torch.export.export(
        Small().eval(), (torch.zeros(2, 3, 2, 2),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


WEIGHTS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.zeros(2)}


def _poisoned_graph(change: Callable[[dict[str, object]], None]) -> bytes:
    data = exported()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next(name for name in archive.namelist() if name.endswith("models/model.json"))
        document = json.loads(archive.read(name))
    change(document)
    return repacked(data, model_json=json.dumps(document).encode())


def _hostile(kind: str, canary: Path) -> bytes:
    evil, code = Evil(canary), f"__import__('os').system('touch {canary}')"
    pickled = pickle.dumps(evil)
    good = pickle.dumps({"epoch": 3})
    match kind:
        case "plain pickle":
            return pickled
        case "plain pickle, protocol 0":
            return pickle.dumps(evil, protocol=0)
        case "zip checkpoint":
            return saved({"state_dict": WEIGHTS, "extra": evil})
        case "legacy checkpoint":
            return saved({"state_dict": WEIGHTS, "extra": evil}, _use_new_zipfile_serialization=False)
        case "behind legacy weights":
            return saved(WEIGHTS, _use_new_zipfile_serialization=False) + pickled
        case "zip in zip":
            return repacked(saved(WEIGHTS), byteorder=zipped({"inner.bin": zipped({"a": pickled})}))
        case "zip in tar in zip":
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as archive:
                inner = zipped({"a.pkl": pickled})
                info = tarfile.TarInfo("inner")
                info.size = len(inner)
                archive.addfile(info, io.BytesIO(inner))
            return repacked(saved(WEIGHTS), byteorder=buffer.getvalue())
        case "a tensor's bytes":
            return zipped({"a/data.pkl": good, "a/data/0": pickled})
        case "appended second pickle":
            return good + pickled
        case "second pickle in data.pkl":
            return zipped({"a/data.pkl": good + pickled})
        case "broken after its payload":
            return zipped({"a/data.pkl": pickled[:-1] + b"\xff\xff"})
        case "name computed on the stack":
            # 'os' and 'system' reach STACK_GLOBAL through memo and DUP
            return b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94" + b"00h\x00h\x01\x93" + b"\x8c\x04true\x85R."
        case "extension registry":
            return b"\x80\x02\x82\x01."
        case "load_from_bytes":
            return b"\x80\x02ctorch.storage\n_load_from_bytes\nC\x01a\x85R."
        case "export sample inputs":
            inner = io.BytesIO()
            torch.save((evil,), inner)
            return repacked(exported(), model_pt=inner.getvalue())
        case "export sample inputs, bare pickle":
            return repacked(exported(), model_pt=pickled)
        case "export guard":
            return _poisoned_graph(lambda graph: graph.update(guards_code=[code]))
        case "export symbolic expression":
            return _poisoned_graph(lambda graph: _first_expression(graph).update(expr_str=code))
        case "export operator":
            return _poisoned_graph(lambda graph: _nodes(graph)[0].update(target="torch.os.system"))
        case "export input name":
            return _poisoned_graph(lambda graph: _rename(graph, f"x: {code}"))
        case "torchscript data.pkl":
            buffer = io.BytesIO()
            torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
            return repacked(buffer.getvalue(), constants_pkl=pickled)
    raise AssertionError(kind)


def _nodes(graph: dict) -> list:
    return graph["graph_module"]["graph"]["nodes"]


def _first_expression(value: object) -> dict:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if "expr_str" in item:
                return item
            stack += item.values()
        elif isinstance(item, list):
            stack += item
    raise AssertionError("no expression")


def _rename(graph: dict, name: str) -> None:
    graph["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = [name]


HOSTILE = [
    "plain pickle",
    "plain pickle, protocol 0",
    "zip checkpoint",
    "legacy checkpoint",
    "behind legacy weights",
    "zip in zip",
    "zip in tar in zip",
    "a tensor's bytes",
    "appended second pickle",
    "second pickle in data.pkl",
    "broken after its payload",
    "name computed on the stack",
    "extension registry",
    "load_from_bytes",
    "export sample inputs",
    "export sample inputs, bare pickle",
    "export guard",
    "export symbolic expression",
    "export operator",
    "export input name",
    "torchscript data.pkl",
]


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_file_fails_and_nothing_runs(kind: str, tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / ("model.pt2" if kind.startswith("export") else "model.pt")
    path.write_bytes(_hostile(kind, canary))
    for allow_pickle in (False, True):
        finding = check(path, allow_pickle=allow_pickle, trusted=("os", "posix", "copyreg"))
        assert finding.outcome is Outcome.FAILED, finding
        assert finding.score and finding.threshold == 0
        assert str(path) not in finding.message  # the reports name the file
    assert not canary.exists()


def test_message_names_the_global_and_the_member(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(_hostile("zip in zip", tmp_path / "canary"))
    message = check(path).message
    assert "posix.system" in message and '"inner.bin"' in message and "runs code" in message


def test_canary_is_real(tmp_path: Path) -> None:
    """The fixtures would work: unpickling one does write the canary."""
    pickle.loads(_hostile("plain pickle", tmp_path / "canary"))  # noqa: S301
    assert (tmp_path / "canary").exists()


def _numpy_beside() -> bytes:
    import argparse

    import numpy as np

    return saved(
        {
            "state_dict": WEIGHTS,
            "best": np.float64(0.9),
            "confusion": np.eye(3, dtype=np.float32),
            "args": argparse.Namespace(lr=0.1, out=Path("runs")),
            "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]},
        }
    )


def _script(traced: bool) -> bytes:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2)).eval()
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(net, torch.zeros(1, 3, 4, 4)) if traced else torch.jit.script(net), buffer)
    return buffer.getvalue()


def _safetensors() -> bytes:
    from safetensors.torch import save

    return save(WEIGHTS, metadata={"format": "pt"})


GOOD: dict[str, Callable[[], bytes]] = {
    "zip": lambda: saved(WEIGHTS),
    "zip, protocol 4": lambda: saved(WEIGHTS, pickle_protocol=4),
    "legacy": lambda: saved(WEIGHTS, _use_new_zipfile_serialization=False),
    "half and friends": lambda: saved({"a": torch.zeros(2).half(), "b": torch.zeros(2).bfloat16(), "c": torch.float16}),
    "parameters": lambda: saved({"a": torch.nn.Parameter(torch.zeros(2)), "size": torch.zeros(2, 3).size()}),
    "numpy beside": _numpy_beside,
    "weights that look like pickles": lambda: saved(
        {"a": torch.frombuffer(bytearray(b"\x80\x02" + b"." * 62), dtype=torch.uint8)}
    ),
    "traced": lambda: _script(True),
    "scripted": lambda: _script(False),
    "exported": exported,
    "safetensors": _safetensors,
}


@pytest.mark.parametrize("kind", GOOD)
def test_honest_file_passes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(GOOD[kind]())
    finding = check(path)
    assert finding.outcome is Outcome.PASSED, finding
    assert finding.score == 0


def test_whole_module_needs_allow_pickle_and_trusted_classes(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(saved(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())))
    refused = check(path)
    assert refused.outcome is Outcome.FAILED and "safetensors" in refused.message
    assert check(path, allow_pickle=True).outcome is Outcome.PASSED
    path.write_bytes(b"\x80\x02cmynets.small\nNet\n)\x81.")
    assert check(path, allow_pickle=True).outcome is Outcome.FAILED
    assert check(path, allow_pickle=True, trusted=("mynets",)).outcome is Outcome.PASSED
    assert check(path, trusted=("mynets",)).outcome is Outcome.FAILED
    path.write_bytes(b"\x80\x02cmynets\nsystem\nX\x01\x00\x00\x00a\x85R.")  # lower case: no class
    assert check(path, allow_pickle=True, trusted=("mynets",)).outcome is Outcome.FAILED


def _overlapping() -> bytes:
    data = bytearray(zipped({"a/data.pkl": pickle.dumps({}), "a/b": b"x" * 40}))
    directory = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", directory + 4)
    data[second + 42 : second + 46] = struct.pack("<L", 0)
    return bytes(data)


def _duplicates() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("a/data.pkl", pickle.dumps({}))
        archive.writestr("a/DATA.pkl", pickle.dumps({"b": 1}))
    return buffer.getvalue()


def _encrypted() -> bytes:
    data = bytearray(zipped({"a/data.pkl": pickle.dumps({})}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def _nested(levels: int) -> bytes:
    data = pickle.dumps({})
    for _ in range(levels):
        data = zipped({"a/data.pkl": pickle.dumps({}), "a/inner": data})
    return data


def _bad_crc() -> bytes:
    data = zipped({"a/data.pkl": pickle.dumps({}), "a/b": b"weights weights"})
    return data.replace(b"weights weights", b"weights Weights")


ODD_ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "zip bomb": (
        lambda: zipped({"a/data.pkl": pickle.dumps({}), "a/data/0": bytes(30 << 20)}, zipfile.ZIP_DEFLATED),
        "zip bomb",
    ),
    "overlap": (_overlapping, "overlaps|local header"),
    "duplicates, but for case": (_duplicates, "2 times"),
    "outside": (lambda: zipped({"a/data.pkl": pickle.dumps({}), "../../x": b"x"}), "outside"),
    "absolute": (lambda: zipped({"a/data.pkl": pickle.dumps({}), "/etc/x": b"x"}), "outside"),
    "encrypted": (_encrypted, "encrypted"),
    "too deep": (lambda: _nested(7), "levels deep"),
    "damaged": (_bad_crc, "damaged"),
    "appended": (lambda: zipped({"a/data.pkl": pickle.dumps({})}) + b"more", "after the end"),
    "comment": (lambda: zipped({"a/data.pkl": pickle.dumps({})})[:-2] + b"\x04\x00more", "after the end"),
    "bzip2 inside": (lambda: zipped({"a/data.pkl": pickle.dumps({}), "a/x": b"BZh91AY&SY" + bytes(9)}), "bzip2"),
}


@pytest.mark.parametrize("kind", ODD_ARCHIVES)
def test_odd_archive_fails(kind: str, tmp_path: Path) -> None:
    make, words = ODD_ARCHIVES[kind]
    path = tmp_path / "model.pt"
    path.write_bytes(make())
    finding = check(path)
    assert finding.outcome is Outcome.FAILED
    assert any(word in finding.message for word in words.split("|")), finding.message


def test_limits_are_the_policys(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(saved(WEIGHTS))
    assert "members" in check(path, max_members=2).message
    assert "cannot be looked at" in check(path, max_pickle_bytes=20).message


def _tensor_file(header: bytes, body: bytes = bytes(8)) -> bytes:
    return struct.pack("<Q", len(header)) + header + body


def _entry(begin: int, end: int, shape: tuple[int, ...] = (1,)) -> str:
    return json.dumps({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]})


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (struct.pack("<Q", 1 << 60) + b"{}", "claims"),
        (_tensor_file(b"{]"), "JSON"),
        (_tensor_file(b"[" * 100_000), "JSON"),
        (_tensor_file(f'{{"a":{_entry(0, 4)},"a":{_entry(4, 8)}}}'.encode()), "twice"),
        (_tensor_file(f'{{"a":{_entry(0, 4)},"b":{_entry(8, 12)}}}'.encode()), "outside"),
        (_tensor_file(f'{{"a":{_entry(0, 4)},"b":{_entry(2, 6)}}}'.encode()), "overlaps"),
        (_tensor_file(f'{{"a":{_entry(0, 8)}}}'.encode()), "shape"),
        (_tensor_file(f'{{"a":{_entry(0, 4)}}}'.encode()), "belong to no tensor"),
        (_tensor_file(f'{{"a":{_entry(-4, 0)},"b":{_entry(0, 8, (2,))}}}'.encode()), "proper"),
        (_tensor_file(f'{{"__metadata__":{{"a":1}},"b":{_entry(0, 8, (2,))}}}'.encode()), "metadata"),
    ],
)
def test_bad_safetensors_header_fails(data: bytes, word: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    finding = check(path)
    assert finding.outcome is Outcome.FAILED
    assert word in finding.message


def test_torchscript_that_touches_files_fails(tmp_path: Path) -> None:
    class Writer(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.from_file("/etc/hostname", False, 3).sum()

    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(Writer()), path)
    finding = check(path)
    assert finding.outcome is Outcome.FAILED and "torch.from_file" in finding.message


def test_vanished_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(saved(WEIGHTS))
    evidence = Evidence(artifact=identify(path), seed=0)
    path.unlink()
    assert FileSafety().run(evidence).outcome is Outcome.ERROR


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"\x80\x02", b"c", b"cos\nsys", b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f"]
)
def test_walker_survives_anything(data: bytes) -> None:
    report = walk_pickle(io.BytesIO(data), len(data))
    assert not report.complete and report.error


def test_no_torch_and_no_numpy_are_imported(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(saved(WEIGHTS))
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from ebyd_scan.checks.file_safety import FileSafety\n"
        "from ebyd_scan.evidence.context import Evidence\n"
        "from ebyd_scan.scanner.models.identify import identify\n"
        f"print(FileSafety().run(Evidence(artifact=identify(Path({str(path)!r})), seed=0)).outcome)\n"
        "print([name for name in ('torch', 'numpy', 'torchvision') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["passed", "[]"], run.stdout
