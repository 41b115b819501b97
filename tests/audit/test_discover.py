"""What is found in a folder that nobody trusts."""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
import time
import zipfile
from pathlib import Path

import pytest
from ebyd_scan.evidence.errors import UsageError
from ebyd_scan.scanner.audit import discover as module
from ebyd_scan.scanner.audit.discover import Discovery, discover
from ebyd_scan.scanner.audit.plan import read_plan

SAFETENSORS = (lambda head: len(head).to_bytes(8, "little") + head + b"\0" * 4)(
    json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
)
PICKLE = pickle.dumps({"a": 1}, protocol=2)


def _zip(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return out.getvalue()


def _fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _found(found: Discovery) -> list[str]:
    return [one.relative for one in found.found]


def _left(found: Discovery, folder: Path) -> dict[str, str]:
    return {one.path.removeprefix(f"{folder}/"): one.reason for one in found.left_out}


def test_models_by_name_and_by_first_bytes(tmp_path: Path) -> None:
    models = {
        "a.pt": b"", "b.PTH": b"x", "c.ckpt": b"x", "d.safetensors": b"version https://git-lfs", "e.onnx": b"x",
        "sub/f.bin": b"x", "sub/.hidden/g.pkl": b"x", "strange.txt": PICKLE, "no-suffix": SAFETENSORS,
        "picture.png": _zip("archive/data.pkl"), "x.npz": _zip("net/data.pkl"),
        "y.jar": _zip("a/constants.pkl", "a/code/x"),
        "z.dat": _zip("models/model.json", "archive_format"), "old.weights": b"cos\nsystem\n(S'true'\ntR.",
        "older.weights": b"(S'x'\nios\nsystem\n.", "stack.weights": b"\x8c\x02os\x8c\x06system\x93.",
        "broken.zip": _zip("a")[:-5], "tar.weights": b"pickle".ljust(257, b"\0") + b"ustar" + b"\0" * 250,
    }  # fmt: skip
    others = {
        "README.md": b"copyright me\n", "empty.dat": b"", "a.npz": _zip("x.npy"), "b.docx": _zip("word/document.xml"),
        "c.tar": b"a".ljust(257, b"\0") + b"ustar" + b"\0" * 250, "d.tar.gz": b"\x1f\x8bxx", "e.h5": b"\x89HDF",
        "model.ts": b"export const a = 1", "spiece.model": b"\x0a\x0b\x08<unk>", "lfs.dat": b"version https://git-lfs",
        "hidden-onnx": b"\x08\x07\x12\x07pytorch\x1a", "config.json": b"{}",
    }  # fmt: skip
    _fill(tmp_path, models | others)
    found = discover(tmp_path)
    assert set(_found(found)) == set(models) and _found(found) == sorted(models)
    left = _left(found, tmp_path)
    assert set(left) == set(others)
    assert left["a.npz"] == "a NumPy archive, not a PyTorch model"
    assert left["d.tar.gz"] == left["c.tar"] == left["b.docx"]
    assert left["d.tar.gz"] == "an archive that is no model itself: unpack it to have what is in it looked at"
    assert left["hidden-onnx"] == "perhaps an ONNX file: call it .onnx to have it scanned"
    assert left["config.json"] == "a configuration without the weights of its model beside it"
    assert left["README.md"] == "no model file by its name and first bytes"


def test_a_hugging_face_folder_is_one_model(tmp_path: Path) -> None:
    _fill(tmp_path, {
        "bert/config.json": b"{}", "bert/model.safetensors": SAFETENSORS, "bert/tokenizer.json": b"{}",
        "bert/all.zip": _zip("net.pt"),
        "bert/pytorch_model.bin": PICKLE, "bert/optimizer.pt": PICKLE, "bert/other.pt": PICKLE,
        "bert/checkpoint-5/config.json": b"{}", "bert/checkpoint-5/pytorch_model.bin": PICKLE,
        "bert/model-00001-of-00002.safetensors": SAFETENSORS,
        "lora/adapter_config.json": b"{}", "lora/adapter_model.safetensors": SAFETENSORS,
        "sharded/config.json": b"{}", "sharded/a-1.safetensors": SAFETENSORS, "sharded/a-2.safetensors": SAFETENSORS,
        "sharded/model.safetensors.index.json": b'{"weight_map": {"x": "a-1.safetensors", "y": "a-2.safetensors"}}',
        "cut-short/config.json": b"{}", "cut-short/model-00001-of-00002.safetensors": SAFETENSORS,
        "cut-short/model.safetensors.index.json": b'{"weight_map": {"x": "model-00002-of-00002.safetensors"}}',
    })  # fmt: skip
    found = discover(tmp_path)
    assert _found(found) == ["bert", "bert/checkpoint-5", "bert/other.pt", "cut-short", "lora", "sharded"]
    left = _left(found, tmp_path)
    assert {name: reason[:22] for name, reason in left.items()} == {
        "bert/pytorch_model.bin": "second weights in a mo",
        "bert/model-00001-of-00002.safetensors": "second weights in a mo",
        "bert/optimizer.pt": "what training left in ",
        "bert/all.zip": "an archive that is no ",
    }


def test_a_planted_configuration_hides_nothing(tmp_path: Path) -> None:
    _fill(tmp_path, {"config.json": b"{}", "a.pt": PICKLE, "sub/b.pt": PICKLE})
    assert _found(discover(tmp_path)) == ["a.pt", "sub/b.pt"]
    _fill(tmp_path, {"model.safetensors": SAFETENSORS})
    assert _found(discover(tmp_path)) == ["", "a.pt", "sub/b.pt"]
    (named, *_) = read_plan(tmp_path, defaults={}).planned
    assert named.name.startswith("test_a_planted") and named.path == tmp_path


def test_files_planted_in_the_folder_say_nothing(tmp_path: Path) -> None:
    planted = (
        b"version: 1\ndefaults: {seed: 5, architecture: evil.py:run, samples: x}\nmodels: [{name: a, model: a.pt}]\n"
    )
    names = ("ebyd-scan.yaml", "rules.yaml", "rules.yml", ".ebyd-scan.yaml", "models.csv", "sub/rules.yaml")
    _fill(tmp_path, {"a.pt": PICKLE, "sub/b.pt": PICKLE, "classes.txt": b"x", "evil.py": b"1/0"})
    _fill(tmp_path, dict.fromkeys(names, planted))
    plan = read_plan(tmp_path, defaults={"samples": tmp_path / "a.pt"})
    assert [(one.name, one.where) for one in plan.planned] == [("sub-b.pt", "command line")]
    assert plan.planned[0].options["seed"] == 0 and plan.planned[0].options["architecture"] is None
    assert {f"{tmp_path}/{name}" for name in names} < {one.path for one in plan.left_out}


def test_the_hub_cache_of_hugging_face(tmp_path: Path) -> None:
    cache = tmp_path / "models--a--b"
    _fill(cache, {"blobs/1": b"{}", "blobs/2": SAFETENSORS, "blobs/3": PICKLE, "refs/main": b"abc"})
    snapshot = cache / "snapshots/abc"
    snapshot.mkdir(parents=True)
    for name, blob in (("config.json", 1), ("model.safetensors", 2), ("net.pt", 3)):
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    found = discover(tmp_path)
    assert _found(found) == ["models--a--b/snapshots/abc", "models--a--b/snapshots/abc/net.pt"]
    assert found.found[0].problem is None
    assert _left(found, tmp_path) == {
        "models--a--b/blobs/2": "the same file as models--a--b/snapshots/abc",
        "models--a--b/blobs/3": "the same file as models--a--b/snapshots/abc/net.pt",
        "models--a--b/refs/main": "no model file by its name and first bytes",
    }
    alone = discover(snapshot)  # named by the user: its links may lead to the blobs
    assert [(one.relative, one.problem) for one in alone.found] == [("", None)]
    assert _left(alone, snapshot) == {"net.pt": "a link that leads out of the folder"}


def test_links(tmp_path: Path) -> None:
    zoo = tmp_path / "zoo"
    _fill(tmp_path, {"zoo/b.pt": PICKLE, "zoo/sub/c.pt": PICKLE, "out.pt": PICKLE, "folder/d.pt": PICKLE})
    _fill(tmp_path, {"zoo/hf/config.json": b"{}", "secret": b"key"})
    links = {
        "a.pt": "b.pt", "gone.pt": "nowhere", "loop.pt": "loop.pt", "circle": "circle2", "circle2": "circle",
        "out.pt": "../out.pt", "out": "../folder", "up": "..", "self": ".", "in": "sub",
        "hf/model.safetensors": "../../secret",
    }  # fmt: skip
    for name, target in links.items():
        (zoo / name).symlink_to(target)
    os.link(zoo / "b.pt", zoo / "twin.pt")
    found = discover(zoo)
    assert _found(found) == ["b.pt", "hf", "sub/c.pt"]
    assert "model.safetensors is a link that leads out of" in (found.found[1].problem or "")
    out, folder = "a link that leads out of the folder", "a link to a folder: what lies there is found at its own place"
    assert _left(found, zoo) == {
        "a.pt": "the same file as b.pt", "twin.pt": "the same file as b.pt", "gone.pt": "a link that leads nowhere",
        "loop.pt": "a link in a circle", "circle": "a link in a circle", "circle2": "a link in a circle",
        "out.pt": out, "out": out, "up": out, "self": folder, "in": folder,
    }  # fmt: skip
    (tmp_path / "link").symlink_to("zoo")
    assert _found(discover(tmp_path / "link")) == ["b.pt", "hf", "sub/c.pt"]


def test_what_is_left_out_by_a_rule_takes_no_other_path_with_it(tmp_path: Path) -> None:
    _fill(tmp_path, {"a.pt": PICKLE})
    os.link(tmp_path / "a.pt", tmp_path / "b.pt")
    found = discover(tmp_path, skip=lambda relative: "retired" if relative == "a.pt" else None)
    assert _found(found) == ["b.pt"] and _left(found, tmp_path) == {"a.pt": "retired"}


def test_pipes_sockets_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pt")
    os.mkfifo(tmp_path / "b")
    (tmp_path / "c.bin").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        home = Path.cwd()
        try:
            os.chdir(tmp_path)  # paths of sockets are short
            server.bind("d.pt")
        finally:
            os.chdir(home)
        left = _left(discover(tmp_path), tmp_path)
    assert left == {
        "a.pt": "a pipe", "b": "a pipe", "c.bin": "a link that leads out of the folder", "d.pt": "a socket",
    }  # fmt: skip


def test_the_samples_are_no_models(tmp_path: Path) -> None:
    _fill(tmp_path, {"a.pt": PICKLE, "clean/0/x.png": b"p", "clean/1/y.pt": PICKLE, "s.npz": _zip("net/data.pkl")})
    _fill(tmp_path, {"t/r.tsv": PICKLE})
    (tmp_path / "link.npz").symlink_to("s.npz")
    known = {tmp_path / "clean": "the clean samples", tmp_path / "s.npz": "the clean samples"}
    found = discover(tmp_path, known={path.resolve(): why for path, why in known.items()})
    assert _found(found) == ["a.pt", "t/r.tsv"]
    assert _left(found, tmp_path) == dict.fromkeys(("clean/", "link.npz", "s.npz"), "the clean samples")
    plan = read_plan(tmp_path, defaults={"samples": tmp_path / "t/../t/r.tsv"})
    assert str(tmp_path / "t/r.tsv") in {one.path for one in plan.left_out}
    assert read_plan(tmp_path, defaults={"samples": tmp_path}).planned  # not all of it


def test_data_beside_onnx_files_and_loose_shards(tmp_path: Path) -> None:
    _fill(
        tmp_path, {"a.onnx": b"x", "a.onnx.data": b"\0" * 99, "w.bin": b"\0" * 99, "torch.bin": PICKLE, "a.txt": b"x"}
    )
    _fill(tmp_path, {"v/net.xml": b"<net/>", "v/net.bin": b"\0" * 9, "v/other.bin": b"\0" * 9})
    _fill(tmp_path, {f"s/x-0000{n}-of-00003.safetensors": SAFETENSORS for n in (1, 2, 3)})
    _fill(tmp_path, {"s/y-00001-of-00002.pt": PICKLE})
    found = discover(tmp_path)
    assert _found(found) == ["a.onnx", "s/y-00001-of-00002.pt", "torch.bin", "v/other.bin"]
    left = _left(found, tmp_path)
    assert left["a.onnx.data"] == left["w.bin"] and left["w.bin"].endswith("they are read with it")
    assert left["s/x-00002-of-00003.safetensors"].startswith("one part of several")
    assert left["v/net.bin"] == left["a.txt"] == "no model file by its name and first bytes"


def test_names_of_any_kind(tmp_path: Path) -> None:
    names = [
        b"\xff\xfe.pt",
        b"a\nb\t.pt",
        b"-rf.pt",
        "ünïcode.pt".encode(),
        b"x" * 250 + b".pt",
        b"{name}.pt",
        b"\xff.txt",
    ]
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:  # noqa: PTH118, PTH123
            file.write(PICKLE if name.endswith(b".pt") else b"x")
    plan = read_plan(tmp_path, defaults={"samples": tmp_path})
    assert len(plan.planned) == 6
    assert {one.path.name for one in plan.planned} >= {"{name}.pt", "a\nb\t.pt", "-rf.pt"}
    (bad,) = [one for one in plan.planned if one.problem]
    assert bad.problem is not None and "not valid UTF-8" in bad.problem and "\\udcff\\udcfe.pt" in bad.problem
    assert [one.path for one in plan.left_out] == [f"{tmp_path}/\\udcff.txt"]
    json.dumps([one.name for one in plan.planned]).encode()


def test_deep_folders_end_in_a_sentence(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=descriptor)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=descriptor)
        os.close(os.open("a.pt", os.O_WRONLY | os.O_CREAT, dir_fd=deeper))
        os.close(descriptor)
        descriptor = deeper
    os.close(descriptor)
    plan = read_plan(tmp_path, defaults={})
    assert 10 < len(plan.planned) < 25 and len({one.name for one in plan.planned}) == len(plan.planned)
    assert all(len(one.name) <= 100 for one in plan.planned)
    assert "(File name too long)" in plan.left_out[-1].reason
    assert "so nothing in it is looked at" in plan.notes[0] and len(plan.notes[0]) < 400


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_cannot_be_read(tmp_path: Path) -> None:
    _fill(tmp_path, {"a/x.pt": PICKLE, "b.dat": PICKLE, "c.pt": PICKLE})
    for name in ("a", "b.dat", "c.pt"):
        (tmp_path / name).chmod(0)
    try:
        found = discover(tmp_path)
    finally:
        (tmp_path / "a").chmod(0o700)
    assert _found(found) == ["c.pt"]  # the scan tells that it cannot be read
    left = _left(found, tmp_path)
    assert left == {
        "a/": "cannot be listed (Permission denied)",
        "b.dat": "cannot be read, and is not called like a model",
    }
    assert "so nothing in it is looked at" in found.notes[0]


def test_what_goes_while_it_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill(tmp_path, {"a/x.pt": PICKLE, "b.dat": PICKLE, "c.pt": PICKLE, "d/y.pt": PICKLE})
    listing = os.scandir

    class Vanishing:
        def __init__(self, place: Path) -> None:
            self.entries = list(listing(place))
            for path in (tmp_path / "a/x.pt", tmp_path / "b.dat", tmp_path / "c.pt"):
                path.unlink(missing_ok=True)
            if (tmp_path / "a").is_dir():
                (tmp_path / "a").rmdir()

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(module.os, "scandir", Vanishing)
    found = discover(tmp_path)
    assert _found(found) == ["d/y.pt"]
    assert set(_left(found, tmp_path)) == {"a/", "b.dat", "c.pt"}


def test_left_out_is_told_in_sums(tmp_path: Path) -> None:
    _fill(tmp_path, {f"pictures/{n}.png": b"p" for n in range(50)} | {f"f{n}/x.txt": b"x" for n in range(250)})
    _fill(tmp_path, {f"few/{n}.txt": b"t" for n in range(10)} | {".git/objects/aa": PICKLE, "zz.pt": PICKLE})
    (tmp_path / "zzz.pt").symlink_to("gone")
    found = discover(tmp_path)
    assert _found(found) == ["zz.pt"] and len(found.left_out) == 201
    left = _left(found, tmp_path)
    assert left["zzz.pt"] == "a link that leads nowhere" and left[".git/"] == "Git's own folder"
    assert found.left_out[-1].path == str(tmp_path)
    assert found.left_out[-1].reason.startswith("and 63 more: ")
    few = discover(tmp_path / "pictures").left_out
    assert [one.reason for one in few] == ["50 files in it: no model file by its name and first bytes"]


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill(tmp_path, {f"{n}.pt": PICKLE for n in range(6)})
    monkeypatch.setattr(module, "MAX_ENTRIES", 5)
    with pytest.raises(UsageError, match="holds more than 5 files"):
        discover(tmp_path)
    monkeypatch.setattr(module, "MAX_ENTRIES", 6)
    monkeypatch.setattr("ebyd_scan.scanner.audit.from_folder.MAX_MODELS", 5)
    with pytest.raises(UsageError, match="has more than 5 models"):
        read_plan(tmp_path, defaults={})
    with pytest.raises(UsageError, match="cannot be listed"):
        discover(tmp_path / "0.pt")


def test_thousands_of_files_are_quick(tmp_path: Path) -> None:
    for n in range(1000):
        (tmp_path / f"{n}.{('pt', 'dat')[n % 2]}").write_bytes(b"copyright (c) somebody\nall of it\n" * 20)
    started = time.monotonic()
    assert len(discover(tmp_path).found) == 500
    assert time.monotonic() - started < 5  # a tenth of a second on an idle machine
