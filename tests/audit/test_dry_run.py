"""What an audit would do: looked at without torch, told for a person, a pipe and a program."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ebyd_scan.evidence.audit import LeftOut
from ebyd_scan.scanner.audit.dry_run import CANNOT, DryRow, dry_run_rows, to_dry_run_json, to_dry_run_text
from ebyd_scan.scanner.audit.options import options_for
from ebyd_scan.scanner.audit.plan import Plan, Planned, read_plan
from ebyd_scan.scanner.audit.problems import look

SAFETENSORS = (lambda head: len(head).to_bytes(8, "little") + head + b"\0" * 4)(
    json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
)


def _planned(path: Path, **options: object) -> Planned:
    said = {"samples": path.parent, **options}
    return Planned(path.name, path, options_for(path, said, {}), "command line")


def _folder(path: Path, **config: object) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    (path / "model.safetensors").write_bytes(SAFETENSORS)
    return path


def test_formats_and_what_is_missing_for_them(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(SAFETENSORS)
    (tmp_path / "own.py").write_text("raise SystemExit('never run')\n")
    for name, inside in (("zip.pt", ["a/data.pkl"]), ("script.pt", ["a/code/x", "a/constants.pkl"])):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for one in inside:
                archive.writestr(one, b"x")
    (tmp_path / "other.pkl").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "text.pt").write_bytes(b"hello")
    weights = tmp_path / "a.safetensors"
    bare = look(_planned(weights))
    assert bare.format == "safetensors" and "holds weights only: give its `architecture`" in (bare.problem or "")
    assert look(_planned(weights, architecture="torchvision:resnet18")).problem is None
    assert look(_planned(weights, architecture=f"{tmp_path}/own.py:Net")).problem is None
    missing = look(_planned(weights, architecture=f"{tmp_path}/none.py:Net")).problem
    assert missing == f"{tmp_path}/none.py does not exist: check `architecture`"
    assert "is none of torchvision:NAME" in (look(_planned(weights, architecture="resnet")).problem or "")
    assert "holds weights only" in (look(_planned(tmp_path / "zip.pt")).problem or "")
    assert look(_planned(tmp_path / "zip.pt", allow_pickle=True)).problem is None
    assert look(_planned(tmp_path / "script.pt")) == look(_planned(tmp_path / "script.pt", allow_pickle=True))
    assert look(_planned(tmp_path / "script.pt")).format == "torchscript"
    assert "a pickle or an archive, but no model" in (look(_planned(tmp_path / "other.pkl")).problem or "")
    assert "is not a model file" in (look(_planned(tmp_path / "text.pt")).problem or "")
    assert "does not exist" in (look(_planned(tmp_path / "gone.pt")).problem or "")
    assert "there is no such file" in (
        look(_planned(weights, architecture="timm:x", policy_name="p.yaml")).problem or ""
    )
    assert "does not compare with it" in (
        look(_planned(weights, architecture="timm:x", policy_name="quick", reference=weights)).problem or ""
    )


def test_texts_and_pictures(tmp_path: Path) -> None:
    texts, table = _folder(tmp_path / "texts", architectures=["BertForSequenceClassification"]), tmp_path / "r.tsv"
    pictures = _folder(tmp_path / "pictures", architectures=["ViTForImageClassification"])
    (tmp_path / "a.onnx").write_bytes(b"x")
    assert look(_planned(texts, samples=table)).problem is None and look(_planned(pictures)).problem is None
    assert "is a text classifier: give texts" in (look(_planned(texts)).problem or "")
    assert "`mean` is for pictures" in (look(_planned(texts, samples=table, mean=(0.1,))).problem or "")
    assert "need a Hugging Face folder" in (look(_planned(tmp_path / "a.onnx", samples=table)).problem or "")
    assert "says itself what it is" in (look(_planned(pictures, architecture="timm:x")).problem or "")
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora/adapter_config.json").write_text('{"base_model_name_or_path": "up\\u001b[31m"}')
    (tmp_path / "lora/adapter_model.safetensors").write_bytes(SAFETENSORS)
    assert "give the folder of that model" in (look(_planned(tmp_path / "lora")).problem or "")
    assert look(_planned(tmp_path / "lora", base_model=pictures)).problem is None
    assert "is for adapters" in (look(_planned(pictures, base_model=pictures)).problem or "")
    (texts / "config.json").write_bytes(b"[" * 100_000)
    assert "is not valid JSON" in (look(_planned(texts)).problem or "")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pt")
    assert "is a pipe or a device" in (look(_planned(tmp_path / "a.pt")).problem or "")


def _plan(tmp_path: Path) -> Plan:
    (tmp_path / "zoo").mkdir(exist_ok=True)
    for name in ("a.safetensors", "b.safetensors", "[red]c\x1b[31m.onnx"):
        (tmp_path / "zoo" / name).write_bytes(b"x" if name.endswith("onnx") else SAFETENSORS)
    (tmp_path / "zoo/README.md").write_text("x")
    (tmp_path / "r.yaml").write_text(
        "version: 1\nrules: [{match: b.*, architecture: 'torchvision:resnet18'}, {match: x}]\n"
    )
    return read_plan(tmp_path / "zoo", rules=tmp_path / "r.yaml", defaults={"samples": tmp_path})


def test_rows_and_texts(tmp_path: Path) -> None:
    plan, asked = _plan(tmp_path), []
    rows = dry_run_rows(plan, lambda one: asked.append(one.name) or "answered from the store")
    by_name = {row.name: row for row in rows}
    assert asked == ["red-c-31m.onnx", "b.safetensors"]  # not of what cannot be scanned
    assert by_name["b.safetensors"] == DryRow(
        name="b.safetensors", path=f"{tmp_path}/zoo/b.safetensors", format="safetensors",
        architecture="torchvision:resnet18", samples=str(tmp_path), policy="release-gate", where="r.yaml: rule 1",
        state="answered from the store", problem=None,
    )  # fmt: skip
    assert by_name["a.safetensors"].state == CANNOT
    text = to_dry_run_text(plan, rows, color=False, width=300)
    assert "\x1b" not in text and "[red]c\\x1b[31m.onnx" in text and "options from" in text
    assert "Left out\n" in text and "README.md: no model file by its name and first bytes" in text
    assert "To note\n" in text and "rule 2, `x`, matches no model" in text
    assert text.endswith("3 models: 2 answered from the store, 1 cannot be scanned; 1 left out.\n")
    assert "\x1b[1mCannot be scanned\x1b[0m" in to_dry_run_text(plan, rows, color=True, width=300)


@pytest.mark.parametrize("width", [10, 40, 60, 80, 100, 120])
def test_columns_fit(tmp_path: Path, width: int) -> None:
    plan = _plan(tmp_path)
    rows = dry_run_rows(plan, lambda _: "new")
    long = DryRow("x" * 4000, "ü" * 4000, None, "漢" * 50, None, "p", "w", "new", "y" * 5000)
    text = to_dry_run_text(plan, [*rows, long], color=False, width=width)
    assert max(map(len, text.splitlines())) <= max(40, width)
    assert "state" in text and "new" in text


def test_a_pipe_gets_a_line_a_model(tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    lines = to_dry_run_text(plan, dry_run_rows(plan, lambda _: "new"), color=True, width=None).splitlines()
    assert lines[0].split("\t")[:3] == ["state", "name", "path"]
    assert [line.split("\t")[0] for line in lines[1:4]] == ["new", CANNOT, "new"]
    assert all(len(line.split("\t")) == 8 for line in lines[:4])
    assert lines[4].startswith("cannot be scanned: a.safetensors: ") and lines[5].startswith("left out: ")
    assert "\x1b" not in "".join(lines)


def test_json(tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    text = to_dry_run_json(plan, dry_run_rows(plan, lambda _: "new"))
    told = json.loads(text)
    assert text.isascii() and set(told) == {"source", "models", "left_out", "notes"}
    assert [model["name"] for model in told["models"]] == ["red-c-31m.onnx", "a.safetensors", "b.safetensors"]
    assert told["models"][1]["state"] == CANNOT and told["left_out"][0]["reason"].startswith("no model")


def test_nothing_found(tmp_path: Path) -> None:
    plan = Plan(tmp_path, (), (LeftOut(path="x", reason="y"),))
    assert to_dry_run_text(plan, [], color=False, width=80) == "Left out\n  x: y\n\n0 models; 1 left out.\n"
    assert to_dry_run_text(plan, [], color=False, width=None).endswith("0 models; 1 left out.\n")


def test_torch_is_not_imported(tmp_path: Path) -> None:
    _folder(tmp_path / "texts", architectures=["BertForSequenceClassification"])
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from ebyd_scan.scanner.audit.plan import read_plan\n"
        "from ebyd_scan.scanner.audit.dry_run import dry_run_rows\n"
        f"plan = read_plan(Path({str(tmp_path)!r}), defaults={{'samples': Path({str(tmp_path)!r})}})\n"
        "assert len(dry_run_rows(plan, lambda one: 'new')) == 1\n"
        "assert not {'torch', 'numpy', 'transformers', 'onnx'} & set(sys.modules), sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
