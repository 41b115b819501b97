"""Manifests as tables: what they say, what is wrong with them and on which line."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from ebyd_scan.evidence.errors import UsageError
from ebyd_scan.scanner.audit.manifest_csv import COLUMNS, table_of
from ebyd_scan.scanner.audit.plan import Planned, read_plan
from ebyd_scan.scanner.audit.wanted import plan_of
from ebyd_scan.scanner.project.model import ModelEntry
from ebyd_scan.scanner.read_request import read_request


def _planned(text: str | bytes, name: str = "sub/models.csv", **defaults: object) -> tuple[Planned, ...]:
    data = text.encode() if isinstance(text, str) else text
    return plan_of(table_of(data, Path(name)), defaults).planned


def _said(text: str | bytes, name: str = "models.csv") -> str:
    with pytest.raises(UsageError) as caught:
        table_of(text.encode() if isinstance(text, str) else text, Path(name))
    return str(caught.value)


def test_every_column() -> None:
    cells = {
        "model": "nets/a.pt", "name": "one", "samples": "clean/{name}", "classes": "classes.txt",
        "architecture": "nets/small.py:Net", "arch-args": "depth=3; wide=true;name=x", "mean": '"0.1,0.2,0.3"',
        "std": "0.2 0.2 0.2", "size": "32x48", "text-column": "review", "pair-column": "other",
        "label-column": "stars", "max-length": "128", "policy": "gates/ours.yaml", "reference": "v1.pt",
        "base-model": "bert", "device": "cuda:1", "seed": "7", "timeout": "60", "memory": "1.5",
    }  # fmt: skip
    assert set(cells) == set(COLUMNS)
    (one,) = _planned(",".join(cells) + "\n" + ",".join(cells.values()) + "\n")
    assert (one.name, one.path, one.where) == ("one", Path("sub/nets/a.pt"), "models.csv:2")
    options = dict(one.options)
    assert options.pop("arch_args") == {"depth": 3, "wide": True, "name": "x"}
    assert options == {
        "model": Path("sub/nets/a.pt"), "samples": Path("sub/clean/one"), "classes_file": Path("sub/classes.txt"),
        "architecture": "sub/nets/small.py:Net", "mean": (0.1, 0.2, 0.3), "std": (0.2, 0.2, 0.2), "size": (32, 48),
        "text_column": "review", "pair_column": "other", "label_column": "stars", "max_length": 128,
        "policy_name": "sub/gates/ours.yaml", "reference": Path("sub/v1.pt"), "base_model": Path("sub/bert"),
        "device": "cuda:1", "seed": 7, "timeout": 60.0, "memory": 1.5, "allow_pickle": False,
        "trust_remote_code": False,
    }  # fmt: skip


def test_columns_are_the_keys_of_a_project_file() -> None:
    keys = {field.alias or name for name, field in ModelEntry.model_fields.items()}
    assert keys - set(COLUMNS) == {"reports", "witness-dir", "remove-to"}


def test_empty_cells_are_the_defaults_of_the_command_line_and_read_request_takes_it() -> None:
    text = "model,samples,mean,seed,policy\na.pt,,,,\nb.pt,x.npz,0.5,3,quick\n"
    defaults = {"samples": Path("clean"), "mean": (0.1,), "seed": 1, "policy_name": "audit", "allow_pickle": True}
    one, two = _planned(text, "m.csv", **defaults)
    assert (one.options["samples"], one.options["mean"], one.options["seed"]) == (Path("clean"), (0.1,), 1)
    assert (two.options["samples"], two.options["mean"], two.options["seed"]) == (Path("x.npz"), (0.5,), 3)
    assert (one.options["policy_name"], two.options["policy_name"]) == ("audit", "quick")
    assert one.options["allow_pickle"] and one.options["device"] == "auto"
    policy, request = read_request(**two.options)
    assert (policy.policy.name, request.model, request.arch_args) == ("quick", Path("b.pt"), {})


def test_options_of_pictures_are_not_given_to_texts() -> None:
    text = "model,samples\na.pt,\nbert,reviews.tsv\n"
    one, two = _planned(text, samples=Path("clean"), architecture="timm:x", mean=(0.1,), size=(8, 8))
    assert (one.options["architecture"], one.options["mean"]) == ("timm:x", (0.1,))
    assert (two.options["architecture"], two.options["mean"], two.options["size"]) == (None, None, None)


@pytest.mark.parametrize(
    ("cell", "column", "value"),
    [
        ('"{""a"": [1, null], ""b"": 1e-5}"', "arch-args", {"a": [1, None], "b": 1e-5}),
        ("a=1e-5;b=[1, 2]", "arch-args", None),
        ("0.5", "mean", (0.5,)),
        ('"[0.1, 0.2]"', "mean", (0.1, 0.2)),
        ("0.1;0.2", "mean", (0.1, 0.2)),
        ("32", "size", (32, 32)),
        ('"32, 48"', "size", (32, 48)),
        ("32 48", "size", (32, 48)),
    ],
)
def test_ways_to_write_a_value(cell: str, column: str, value: object) -> None:
    (one,) = _planned(f"model,{column}\na.pt,{cell.replace('[1, 2]', '1')}\n")
    found = one.options[column.replace("-", "_")]
    assert found == value if value is not None else set(found) == {"a", "b"}


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfmodel,name\r\nm\xc3\xbc.pt,a\r\n\r\n",
        b"model,name\rm\xc3\xbc.pt,a\r",
        b"model;name\nm\xc3\xbc.pt;a\n",
        b"model\tname\nm\xc3\xbc.pt\ta\n",
        b"\n\n model , name \n\n m\xc3\xbc.pt , a \n,\n",
        b'"model","name"\n"m\xc3\xbc.pt","a"',
        b"model,name,,\nm\xc3\xbc.pt,a,,\n".replace(b"name,,", b"name"),
    ],
)
def test_what_spreadsheets_write(data: bytes) -> None:
    (one,) = _planned(data, "m.csv")
    assert (one.name, one.path) == ("a", Path("mü.pt"))


def test_quoted_newlines_do_not_shift_lines() -> None:
    text = 'model,arch-args\n"a\nb.pt",\nb.pt,"{""x"":\n1}"\nc.pt,\n'
    planned = _planned(text)
    assert [one.where for one in planned] == ["models.csv:2", "models.csv:4", "models.csv:6"]
    assert planned[0].path == Path("sub/a\nb.pt")
    assert _said(text + "d.pt,x\n").startswith("models.csv:7: ")


MODEL = "model,samples,"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model,sise\na,1\n", "models.csv:1: unknown column 'sise'; did you mean 'size'?"),
        ("model,arch_args\na,1\n", "models.csv:1: unknown column 'arch_args'; did you mean 'arch-args'?"),
        ("model,allow-pickle\na,1\n", "models.csv:1: 'allow-pickle' cannot be set in a manifest: give --allow-pickle"),
        ("model,trust_remote_code\na,1\n", "give --trust-remote-code to the run"),
        ("model,remove-to\na,1\n", "unknown column 'remove-to'"),
        ("model,name,model\na,1,b\n", "models.csv:1: column 'model' stands here twice"),
        ("model,,name\na,1,b\n", "models.csv:1: column 2 has no name"),
        ("name\na\n", "models.csv:1: the header has no column 'model'"),
        ("model,name\na,b,c\n", "models.csv:2: has 3 cells where the header has 2"),
        ("model,name\na\n", "models.csv:2: has 1 cells where the header has 2"),
        ("model,name\n,b\n", "models.csv:2: has no model"),
        ("model,name\na,x\nb,X\n", "models.csv:3: 'X' is the name of the model on line 2 too"),
        ("model,name\na,../x\n", "models.csv:2: name must be letters, digits"),
        ("model,size\na,big\n", "models.csv:2: size must be a whole number, not the text 'big'"),
        ("model,size\na,0\n", "models.csv:2: size must be at least 1, not 0"),
        ("model,size\na,1x2x3\n", "models.csv:2: size "),
        ("model,seed\na,2147483\n", "models.csv:2: seed must be at most 2147482"),
        ("model,seed\na,1.5\n", "models.csv:2: seed must be a whole number"),
        ("model,timeout\na,nan\n", "models.csv:2: timeout must be a number, not the text 'nan'"),
        ("model,mean\na,123.7\n", "models.csv:2: mean must be for pixels in 0..1"),
        ("model,std\na,0.2 0\n", "models.csv:2: std must be above 0"),
        ("model,std\na,1e999\n", "models.csv:2: std "),
        ("model,device\na,gpu\n", "models.csv:2: device must be auto, cpu, cuda or cuda:N"),
        ("model,architecture\na,resnet18\n", "models.csv:2: architecture must be torchvision:NAME"),
        ("model,arch-args\na,x\n", "models.csv:2: arch-args: x is not of the form KEY=VALUE;..."),
        ('model,arch-args\na,"{x: 1}"\n', "models.csv:2: arch-args is no JSON object"),
        ("model,arch-args\na,x=2020-01-01\n", "models.csv:2: arch-args holds a value that JSON has not"),
        ("model,arch-args\na,x=.nan\n", "models.csv:2: arch-args must hold finite numbers"),
        ('model,arch-args\na,"{""x"": 1e999}"\n', "models.csv:2: arch-args must hold finite numbers"),
        ("model,seed\na,1_0\n", "models.csv:2: seed must be a whole number, not the text '1_0'"),
        ('model,arch-args\na,"{""a b"": 1}"\n', "models.csv:2: arch-args must have names of arguments as keys"),
        ('model,name\na,b\n"c,d\ne,f\n', "models.csv:3: opens a quote that is not closed"),
        ('model,name\na,"b"c\n', "models.csv:2: is no CSV"),
        ("", "models.csv: is empty: give a header"),
        ("model,name\n", "models.csv: lists no models"),
        (b"model\n\xff\n", "models.csv:2: is not UTF-8 text"),
        (b"model\na\0.pt\n", "models.csv: is a binary file"),
        ("model\na.pt\n".encode("utf-16"), "models.csv: is UTF-16, as some spreadsheets save"),
        (b"PK\3\4\0\0", "is a binary file"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str | bytes, words: str) -> None:
    assert words in _said(text)


def test_all_mistakes_are_told_at_once() -> None:
    said = _said("model,size,seed,colour\na,big,x,\nb,1,2\n,1,1,\n")
    assert [line.split(": ")[0] for line in said.splitlines()] == [
        "models.csv:1", "models.csv:2", "models.csv:2", "models.csv:3", "models.csv:4",
    ]  # fmt: skip


def test_formulas_are_no_more_than_paths() -> None:
    (one,) = _planned("model\n=HYPERLINK(1)\n")
    assert one.path == Path("sub/=HYPERLINK(1)") and one.name == "HYPERLINK-1"
    assert one.problem == "sub/=HYPERLINK(1) does not exist: check the path of the model"


def test_names_that_are_not_given_are_made_of_paths_and_stay_apart() -> None:
    planned = _planned("model,name\na/b.pt,\na-b.pt,\n../c.pt,\nd.pt,c.pt\n/e/f.pt,\na/b.pt,\n")
    names = [one.name for one in planned]
    assert names[3:5] == ["c.pt", "e-f.pt"] and len({name.casefold() for name in names}) == 6
    assert all(name.startswith("a-b.pt-") for name in (*names[:2], names[5]))
    again = _planned("model,name\nz.pt,\na/b.pt,\na-b.pt,\n")
    assert [one.name for one in again][1:] == names[:2]  # another model changes nothing


def test_problems_and_inputs(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"x")
    (tmp_path / "clean").mkdir()
    (tmp_path / "models.csv").write_text(
        "model,samples,reference,architecture,policy\n"
        "a.pt,clean,,own.py:Net,gate.yaml\na.pt,,,,\nb.pt,clean,,,\na.pt,none,,,\na.pt,clean,old.pt,,\n"
        "a.pt,clean,old.pt,,\n" + "x" * 4000 + ",clean,,,\n"
    )
    plan = read_plan(tmp_path / "models.csv", defaults={})
    problems = [(one.problem or "").replace(f"{tmp_path}/", "") for one in plan.planned]
    assert problems[:5] == [
        "",
        "a.pt has no clean samples: give them with --samples, or in the manifest or rules",
        "b.pt does not exist: check the path of the model",
        "none does not exist: check `samples`",
        "old.pt does not exist: check `reference`",
    ]
    assert "cannot be read (File name too long)" in problems[6] and len(problems[6]) < 500
    names = ("models.csv", "a.pt", "clean", "own.py", "gate.yaml", "b.pt", "none", "old.pt")
    assert {tmp_path / name for name in names} <= set(plan.inputs)
    assert plan.notes == ("models.csv:7: the same model with the same options as models.csv:6",)


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "net.pt").write_bytes(b"x")
    with pytest.raises(UsageError, match="is not a regular file"):
        read_plan(tmp_path / "pipe.csv", defaults={})
    with pytest.raises(UsageError, match="there is no such file or folder"):
        read_plan(tmp_path / "none.csv", defaults={})
    with pytest.raises(UsageError, match="a single model is for `ebyd-scan scan`"):
        read_plan(tmp_path / "net.pt", defaults={})
    with pytest.raises(UsageError, match="there is no such file"):
        read_plan(Path("a\0b.csv"), defaults={})
    (tmp_path / "m.csv").write_text("model\nnet.pt\n")
    with pytest.raises(UsageError, match="goes with a folder"):
        read_plan(tmp_path / "m.csv", rules=Path("r.yaml"), defaults={})
    assert read_plan(tmp_path / "folder.csv", defaults={}).planned == ()


def test_thousands_of_models_and_no_more_than_ten() -> None:
    started = time.monotonic()
    text = "model,samples,mean\n" + "".join(f'm{n}.pt,clean,"0.1,0.2,0.3"\n' for n in range(2000))
    assert len(_planned(text)) == 2000
    assert time.monotonic() - started < 10  # a quarter of a second on an idle machine
    assert "models.csv:10002: lists more than 10,000 models" in _said("model\n" + "a.pt\n" * 10_001)


@pytest.mark.parametrize(
    "data", ['"' + "x" * 300_000, "x," * 100_000 + "\n", "model\n" + "\n" * 300_000, '""' * 99_999]
)
def test_bombs_end_in_a_sentence(data: str) -> None:
    assert len(_said(data)) < 20_000


def test_the_plan_is_the_same_as_of_yaml(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('model,name,samples,size,mean,arch-args\na.pt,a,x,8,0.5,"{""k"": 1}"\n')
    entry = {"model": "a.pt", "name": "a", "samples": "x", "size": 8, "mean": 0.5, "arch-args": {"k": 1}}
    (tmp_path / "m.yaml").write_text(json.dumps({"version": 1, "models": [entry]}))
    table, listed = (read_plan(tmp_path / name, defaults={}).planned[0] for name in ("m.csv", "m.yaml"))
    assert (table.options, table.name, table.problem) == (listed.options, listed.name, listed.problem)
