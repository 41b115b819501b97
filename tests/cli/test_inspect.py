"""`ebyd-scan inspect` through the real command line: every format, many files, and files that are out to hurt."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

torch = pytest.importorskip("torch")
from ebyd_scan.evidence.finding import Finding, Outcome  # noqa: E402
from ebyd_scan.scanner import inspection as gathering  # noqa: E402
from ebyd_scan.scanner.inspection import inspect_file, inspection_of  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

Ebyd = Callable[..., Any]
SHIPPED_SCHEMA = Path(__file__).parents[2] / "scanner" / "reports" / "inspection.schema.json"


class Canary:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch canary",)


def _net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5)).eval()


def _onnx(path: Path, **changes: Any) -> Path:
    onnx = pytest.importorskip("onnx")
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n]) for name, n in (("x", 4), ("y", 3))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    options = {"producer_name": "maker", "producer_version": "1.2", "ir_version": 9, **changes}
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], **options), path)
    return path


def _folder(path: Path, **config: Any) -> Path:
    path.mkdir()
    labels = {str(index): f"class {index}" for index in range(7)}
    settings = {"model_type": "resnet", "architectures": ["ResNetForImageClassification"], "id2label": labels}
    (path / "config.json").write_text(json.dumps(settings | config))
    save_file(_net().state_dict(), path / "model.safetensors")
    return path


def _write(kind: str, path: Path) -> Path:
    net = _net()
    match kind:
        case "safetensors":
            save_file(net.state_dict(), path)
        case "pytorch-zip":
            torch.save(net.state_dict(), path)
        case "pytorch-legacy":
            torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False)
        case "torchscript":
            torch.jit.save(torch.jit.script(net), path)
        case "torch-export":
            torch.export.save(torch.export.export(net, (torch.zeros(2, 3, 4, 4),)), path)
        case "onnx":
            return _onnx(path)
        case "huggingface":
            return _folder(path)
    return path


NAMES = {
    "safetensors": ("a.safetensors", 214),
    "pytorch-zip": ("b.pt", 214),
    "pytorch-legacy": ("c.pth", 214),
    "torchscript": ("d.pt", 214),
    "torch-export": ("e.pt2", 214),
    "onnx": ("f.onnx", 12),
    "huggingface": ("g", 214),
}


@pytest.fixture
def inspect(ebyd: Ebyd, tmp_path: Path) -> Ebyd:
    """Inspect files in `tmp_path`. Nothing is ever executed, written or changed."""

    def go(*arguments: str | Path) -> Any:
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        run = ebyd("inspect", *arguments, cwd=tmp_path)
        for path, data in before.items():
            assert path.read_bytes() == data
        assert not (tmp_path / "canary").exists()
        return run

    return go


def _report(inspect: Ebyd, *arguments: str | Path) -> tuple[Any, dict[str, Any]]:
    run = inspect(*arguments, "--json", "-")
    document = json.loads(run.out)
    jsonschema.validate(document, json.loads(SHIPPED_SCHEMA.read_text()))
    assert document["exit_code"] == run.code
    return run, document


def test_every_format_at_once(inspect: Ebyd, tmp_path: Path) -> None:
    paths = [_write(kind, tmp_path / name) for kind, (name, _) in NAMES.items()]
    run, document = _report(inspect, *(path.name for path in paths))
    assert run.code == 0
    assert document["verdict"] == "passed"
    assert [file["path"] for file in document["files"]] == [path.name for path in paths]
    for file, (kind, (_, parameters)) in zip(document["files"], NAMES.items(), strict=True):
        assert (file["format"], file["parameters"], file["error"]) == (kind, parameters, None)
        assert sum(file["types"].values()) == parameters
        outcomes = {finding["check"]: finding["outcome"] for finding in file["findings"]}
        assert outcomes == {"file-safety": "passed", "graph-logic": "passed" if kind == "onnx" else "skipped"}
        path = tmp_path / file["path"]
        if path.is_file():
            assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
            assert file["size"] == path.stat().st_size
        assert f"passed  {path.name}\n" in run.err
        assert file["sha256"] in run.err
    assert "7 files: 7 passed." in run.err


def test_what_is_told_of_a_graph(inspect: Ebyd, tmp_path: Path) -> None:
    run = inspect(_onnx(tmp_path / "net.onnx"))
    assert run.code == 0 and run.err == ""
    for line in (
        "format      onnx, ",
        "parameters  12 (F32)",
        "ONNX        opset ai.onnx 18; IR 9; 1 node",
        "producer    maker 1.2",
        "inputs      x F32[batch, 4]",
        "outputs     y F32[batch, 3]",
    ):
        assert f"  {line}" in run.out
    assert re.search(r"\n  passed       file-safety  The file", run.out)
    assert "files:" not in run.out  # one needs no summary


def test_weights_beside_a_graph_have_their_own_digest(inspect: Ebyd, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(_onnx(tmp_path / "net.onnx"))
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    run, document = _report(inspect, "net.onnx")
    assert run.code == 0
    digest = hashlib.sha256((tmp_path / "net.data").read_bytes()).hexdigest()
    assert (document["files"][0]["files"], document["files"][0]["parameters"]) == ({"net.data": digest}, 12)
    assert f"beside it   {digest} net.data" in run.err
    (tmp_path / "net.data").unlink()
    run = inspect("net.onnx")
    assert run.code == 3 and "put that file there" in run.text


def test_what_is_told_of_a_folder(inspect: Ebyd, tmp_path: Path) -> None:
    _folder(tmp_path / "plain")
    _folder(tmp_path / "asks", auto_map={"AutoModel": "modeling.Net"}, id2label=None, num_labels=3)
    run, document = _report(inspect, "plain/", "asks")
    assert run.code == 0
    first, second = (file["huggingface"] for file in document["files"])
    assert first == {
        "model_type": "resnet",
        "architectures": ["ResNetForImageClassification"],
        "labels": 7,
        "adapter": None,
        "base_model": None,
        "remote_code": False,
    }
    weights = tmp_path / "plain" / "model.safetensors"
    assert document["files"][0]["files"]["model.safetensors"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (second["labels"], second["remote_code"]) == (3, True)
    assert run.err.count("remote code  asked for") == 1
    assert "model        resnet, ResNetForImageClassification" in run.err


def test_the_shipped_models(inspect: Ebyd, models: Path) -> None:
    run = inspect(*sorted(models.glob("*.safetensors")))
    assert run.code == 0
    assert run.out.count("parameters  61,406 (F32 61,402, I64 4)") == 2


@pytest.mark.parametrize("kind", ["plain", "zip", "legacy", "folder"])
def test_a_hostile_pickle_fails_and_nothing_runs(kind: str, inspect: Ebyd, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    if kind == "plain":
        path.write_bytes(pickle.dumps(Canary()))
    elif kind == "folder":
        path = _folder(tmp_path / "folder")
        torch.save({"a": Canary()}, path / "pytorch_model.bin")
    else:
        torch.save({"a": Canary()}, path, _use_new_zipfile_serialization=kind == "zip")
    for options in ([], ["--allow-pickle"]):
        run, document = _report(inspect, path.name, *options)
        assert run.code == 1
        assert document["files"][0]["verdict"] == "failed"
        assert document["files"][0]["parameters"] is None
        assert "posix.system" in run.text and "runs code when the file is loaded" in run.text
        assert run.err.startswith(f"FAILED  {path.name}\n")
        assert re.search(r"\n  FAILED       file-safety  ", run.err)


def test_whole_modules_pass_if_the_user_says_so(inspect: Ebyd, tmp_path: Path) -> None:
    torch.save(_net(), tmp_path / "whole.pt")
    refused = inspect("whole.pt")
    assert refused.code == 1 and "whole pickled model" in refused.text
    run, document = _report(inspect, "whole.pt", "--allow-pickle")
    assert run.code == 0
    assert document["files"][0]["parameters"] == 214


@pytest.mark.parametrize("kind", ["safetensors", "pytorch-zip", "pytorch-legacy", "onnx"])
def test_a_file_that_was_cut_short_never_passes(kind: str, inspect: Ebyd, tmp_path: Path) -> None:
    name, _ = NAMES[kind]
    data = _write(kind, tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    lengths = {1, 4, len(data) // 4, len(data) // 2, len(data) - 1}
    if kind == "pytorch-legacy":  # whether the raw weights behind the pickles are whole is the loader's to say
        lengths = {1, 4, len(data) // 4}
    names = []
    for length in sorted(lengths):
        names.append(f"{length}-{name}")
        (tmp_path / names[-1]).write_bytes(data[:length])
    run, document = _report(inspect, *names)
    assert run.code in (1, 3)
    for file in document["files"]:
        assert file["verdict"] in ("failed", "error"), file
        assert file["parameters"] is None
        said = file["error"] or file["findings"][0]["message"]
        assert said and "\n" not in said


@pytest.fixture
def rubbish(tmp_path: Path) -> dict[str, str]:
    """Name of what cannot be inspected -> words that say why."""
    (tmp_path / "README.md").write_text("# A model\n\nRead me.\n")
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.onnx").write_text("# Not a graph\n")
    (tmp_path / "lfs.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (tmp_path / "data.npz").write_bytes(b"PK\x03\x04")
    (tmp_path / "plain").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{]")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.onnx")
    return {
        "README.md": "is not a model file that this version knows",
        "empty.onnx": "is empty",
        "empty.pt": "is empty",
        "text.onnx": "is no ONNX file",
        "lfs.pt": "git lfs pull",
        "data.npz": "NumPy archive",
        "plain": "is a folder without a config.json",
        "broken": "is not valid JSON",
        "loop": "cannot be read",
        "pipe": "not a regular file",
        "pipe.onnx": "not a regular file",
        "nowhere.pt": "does not exist",
        "nowhere.onnx": "does not exist",
        "no\x00where.pt": "",
    }


def test_what_is_no_model_is_told_in_a_sentence(rubbish: dict[str, str], inspect: Ebyd, tmp_path: Path) -> None:
    rubbish.pop("no\x00where.pt")  # no command line can say this
    save_file(_net().state_dict(), tmp_path / "good.safetensors")
    run, document = _report(inspect, *rubbish, "good.safetensors")
    assert run.code == 3
    *bad, good = document["files"]
    assert good["verdict"] == "passed"  # the others did not stop it
    for file, (name, words) in zip(bad, rubbish.items(), strict=True):
        assert file["verdict"] == "error"
        assert words in file["error"] and name in file["error"] and "\n" not in file["error"]
        assert file["findings"] == []
    assert f"{len(rubbish) + 1} files: 1 passed, {len(rubbish)} could not be inspected." in run.err


def test_nothing_escapes_from_inspecting(rubbish: dict[str, str], tmp_path: Path) -> None:
    for name in rubbish:
        assert inspect_file(tmp_path / name).verdict == "error"


def test_failed_outweighs_what_could_not_be_inspected(inspect: Ebyd, tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Canary()))
    save_file(_net().state_dict(), tmp_path / "good.safetensors")
    run, document = _report(inspect, "nowhere", "evil.pkl", "good.safetensors")
    assert run.code == 1
    assert document["verdict"] == "failed"
    assert "3 files: 1 passed, 1 failed, 1 could not be inspected." in run.err


def test_a_file_is_inspected_once(inspect: Ebyd, tmp_path: Path) -> None:
    save_file(_net().state_dict(), tmp_path / "a.safetensors")
    (tmp_path / "link.safetensors").symlink_to("a.safetensors")
    _folder(tmp_path / "folder")
    same = ["a.safetensors", "./a.safetensors", "folder/../a.safetensors", tmp_path / "a.safetensors"]
    _, document = _report(inspect, *same, "link.safetensors", "folder", "folder/", "nowhere", "nowhere")
    assert [file["path"] for file in document["files"]] == ["a.safetensors", "folder", "nowhere"]


def test_quiet_says_nothing_of_what_passed(inspect: Ebyd, tmp_path: Path) -> None:
    save_file(_net().state_dict(), tmp_path / "good.safetensors")
    _folder(tmp_path / "folder")
    run = inspect("-q", "good.safetensors", "folder")
    assert (run.code, run.out, run.err) == (0, "", "")
    run = inspect("-q", "good.safetensors", "nowhere")
    assert run.code == 3
    assert run.out.startswith("ERROR  nowhere\n") and "good" not in run.out
    assert "2 files: 1 passed, 1 could not be inspected." in run.out


def test_reports(inspect: Ebyd, tmp_path: Path) -> None:
    path = tmp_path / "good.safetensors"
    save_file(_net().state_dict(), path)
    run = inspect(path.name, "--json", "report.json")
    assert run.code == 0 and run.out.startswith("passed  good.safetensors\n")
    report = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(report, json.loads(SHIPPED_SCHEMA.read_text()))
    assert report["files"][0]["path"] == path.name
    for target, words in ((path.name, "is an input"), ("nowhere/r.json", "there is no folder")):
        run = inspect(path.name, "--json", target)
        assert run.code == 2 and words in run.err and run.out == ""


def test_usage(inspect: Ebyd) -> None:
    assert inspect().code == 2
    assert inspect("--policy", "quick", "a").code == 2
    run = inspect("--help")
    assert run.code == 0 and "--allow-pickle" in run.out


EVIL_TEXT = "\x1b]0;owned\x07\x1b[2J[red]\u202eevil"


def test_escape_sequences_do_not_reach_the_terminal(inspect: Ebyd, tmp_path: Path) -> None:
    names = ["\x1b[31mred\x1b[0m\n.pt", os.fsdecode(b"not-\xff-utf8.pkl"), "[bold]x[bold].pt"]
    for name in names:
        (tmp_path / name).write_bytes(b"not a model")
    paths: list[Any] = [
        *names,
        _onnx(tmp_path / "graph.onnx", producer_name=EVIL_TEXT, producer_version="\x9b2J"),
        _folder(tmp_path / "folder", model_type=EVIL_TEXT, architectures=[EVIL_TEXT, 3]),
    ]
    run, document = _report(inspect, *paths)
    assert run.code == 3
    for stream in (run.out, run.err):
        assert not re.search(r"[^\n\x20-\x7e]", stream)
    assert "\\x1b[31mred\\x1b[0m" in run.err and "[bold]x[bold].pt" in run.err and "not-\\udcff-utf8" in run.err
    assert run.err.count("\\x1b]0;owned\\x07\\x1b[2J[red]\\u202eevil") == 3
    assert document["files"][3]["onnx"]["producer"] == EVIL_TEXT  # JSON has its own escapes


def test_a_reader_that_breaks_stops_only_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(_net().state_dict(), tmp_path / "a.safetensors")
    for problem in (RuntimeError("first\nsecond"), MemoryError(), RecursionError("deep"), OSError(5, "broken disk")):

        def breaks(*_: object, problem: Exception = problem) -> None:
            raise problem

        monkeypatch.setattr(gathering, "count_numbers", breaks)
        file = inspect_file(tmp_path / "a.safetensors")
        assert file.verdict == "error"
        assert file.error and "a.safetensors" in file.error and "\n" not in file.error
        assert file.sha256 and [finding.outcome for finding in file.findings] == ["passed"]  # as far as it went


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("passed", 0), ("skipped", 0), ("failed", 1), ("error", 3), ("inconclusive", 4)],
)
def test_a_finding_decides(outcome: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(_net().state_dict(), tmp_path / "a.safetensors")
    finding = Finding(check="graph-logic", outcome=Outcome(outcome), message="Said so.")
    monkeypatch.setattr(gathering.GraphLogic, "run", lambda self, evidence: finding)
    inspection = inspection_of([inspect_file(tmp_path / "a.safetensors")])
    assert inspection.exit_code == code


def test_an_interrupt_ends_it_at_once(start: Ebyd, tmp_path: Path) -> None:
    with (tmp_path / "large.safetensors").open("wb") as file:
        file.truncate(1 << 40)  # sparse; hashing would take minutes
    process = start("inspect", "large.safetensors", cwd=tmp_path)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out == "" and "interrupted" in err and "Traceback" not in err
