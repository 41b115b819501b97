"""Project files: what they say, what is wrong with them and where."""

from __future__ import annotations

import json
import time
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml
from ebyd_scan.evidence.errors import UsageError
from ebyd_scan.policies.schema import schema_text
from ebyd_scan.scanner.project.load import ScanEntry, entries_of, load_project, pick
from ebyd_scan.scanner.project.schema import project_schema
from ebyd_scan.scanner.reports.formats import FORMATS

WHOLE = """\
version: 1
defaults:
  samples: clean/
  policy: quick
  mean: 0.3
  seed: 7
  reports: {json: "out/{name}.json", junit: "out/{name}.xml"}
models:
  - name: resnet
    model: nets/resnet.safetensors
    architecture: nets/small.py:Net
    arch-args: {classes: 10, rate: 1e-5, wide: true, sizes: [2, 2]}
    mean: [0.1, 0.2, 0.3]
    std: [0.2, 0.2, 0.2]
    size: [32, 48]
    device: cuda:1
    timeout: 60
    reference: nets/v1.safetensors
    reports: {junit: , html: page.html}
    witness-dir: witnesses/{name}
    remove-to: repaired/{name}.safetensors
  - name: bert
    model: nets/bert
    samples: reviews.tsv
    text-column: review
    max-length: 128
    policy: gates/ours.yaml
    mean:
    seed: 0
"""


def _said(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        entries_of(text.encode(), Path("ebyd-scan.yaml"))
    return str(caught.value)


def _entries(text: str, path: str = "sub/ebyd-scan.yaml") -> list[ScanEntry]:
    return entries_of(text.encode(), Path(path))


def test_a_whole_file() -> None:
    text = WHOLE if "html" in FORMATS else WHOLE.replace(", html: page.html", "")
    resnet, bert = _entries(text)
    assert resnet.options["model"] == Path("sub/nets/resnet.safetensors")
    assert resnet.options["samples"] == Path("sub/clean")
    assert resnet.options["architecture"] == "sub/nets/small.py:Net"
    assert resnet.options["arch_args"] == {"classes": 10, "rate": 1e-5, "wide": True, "sizes": [2, 2]}
    assert (resnet.options["mean"], resnet.options["std"]) == ((0.1, 0.2, 0.3), (0.2, 0.2, 0.2))
    assert (resnet.options["size"], resnet.options["device"], resnet.options["seed"]) == ((32, 48), "cuda:1", 7)
    assert resnet.reports["json"] == Path("sub/out/resnet.json") and "junit" not in resnet.reports
    assert resnet.witness_dir == Path("sub/witnesses/resnet")
    assert resnet.remove_to == Path("sub/repaired/resnet.safetensors")
    assert (resnet.options["policy_name"], resnet.reference) == ("quick", Path("sub/nets/v1.safetensors"))
    assert (bert.options["mean"], bert.options["seed"], bert.options["max_length"]) == (None, 0, 128)
    assert bert.options["policy_name"] == "sub/gates/ours.yaml"
    assert bert.reports == {"json": Path("sub/out/bert.json"), "junit": Path("sub/out/bert.xml")}


def test_paths_in_the_current_folder_are_as_they_are_written() -> None:
    (entry,) = _entries("version: 1\nmodels: [{name: a, model: m.pt, samples: x.npz, size: 8}]\n", "ebyd-scan.yaml")
    assert (str(entry.options["model"]), entry.options["size"]) == ("m.pt", (8, 8))
    assert entry.options["policy_name"] == "release-gate"
    (entry,) = _entries("version: 1\nmodels: [{name: a, model: /m.pt, samples: x}]\n")
    assert entry.options["model"] == Path("/m.pt")


MODEL = "version: 1\nmodels:\n  - {name: a, model: m.pt, samples: x, "


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (MODEL + "sise: 3}\n", "3:40", "unknown key 'sise' in models.0; did you mean 'size'?"),
        (MODEL + "arch_args: {}}\n", "3:40", "did you mean 'arch-args'?"),
        (MODEL + "allow-pickle: true}\n", "3:40", "give --allow-pickle to the run that needs it"),
        (MODEL + "trust_remote_code: true}\n", "3:40", "give --trust-remote-code to the run"),
        ("version: 1\ndefaults: {allow-pickle: true}\nmodels: []\n", "2:12", "cannot be set in a project file"),
        (MODEL + "reports: {jnit: x}}\n", "3:50", "did you mean 'junit'?"),
        (MODEL + "reports: {json: '-'}}\n", "3:56", "must be a file"),
        (MODEL + "mean: 123.7}\n", "3:46", "must be for pixels in 0..1"),
        (MODEL + "mean: .nan}\n", "3:46", "finite"),
        (MODEL + "std: [0.2, 0]}\n", "3:45", "must be above 0"),
        (MODEL + "size: true}\n", "3:46", "must be a whole number"),
        (MODEL + "seed: 2147483}\n", "3:46", "must be at most 2147482"),
        (MODEL + "device: gpu}\n", "3:48", "must be auto, cpu, cuda or cuda:N"),
        (MODEL + "architecture: resnet18}\n", "3:54", "must be torchvision:NAME"),
        (MODEL + "arch-args: {a b: 1}}\n", "3:51", "names of arguments"),
        (MODEL + "arch-args: {a: [.inf]}}\n", "3:51", "must hold finite numbers"),
        (MODEL + "max-length: '12'}\n", "3:52", "must be a whole number, not the text '12'"),
        ("version: 2\nmodels: [{name: a, model: m, samples: x}]\n", "1:10", "must be 1"),
        ("version: true\nmodels: [{name: a, model: m, samples: x}]\n", "1:10", "must be 1"),
        ("version: 1\nmodels: []\n", "2:9", "must not be empty"),
        ("version: 1\nmodels:\n- {name: ../a, model: m, samples: x}\n", "3:10", "letters, digits"),
        ("version: 1\nmodels:\n- {name: a, model: m}\n", "3:3", "has no samples"),
        ("version: 1\nmodels:\n- &a {name: a, model: m}\n- *a\n", "3:3", "anchors are not allowed in a project file"),
        ("version: 1\nmodels: &a [*a]\n", "2:9", "anchors are not allowed"),
        ("version: 1\n--- \nmodels: 1\n", "2:1", "one document"),
        ("- version\n", "1:1", "a project file is a mapping"),
        ("version: 1\nversion: 1\n", "2:1", "stands here twice"),
        ("version: 1\nmodels: !!python/object/apply:os.system [x]\n", "2:9", "which is not allowed"),
        ("version: [\n", "2:1", "is not valid YAML"),
    ],
    ids=lambda value: value.splitlines()[-1][-45:] if "\n" in value else "",
)
def test_what_is_wrong_is_told_with_its_place(text: str, place: str, words: str) -> None:
    said = _said(text)
    assert words in said
    assert any(line.startswith(f"ebyd-scan.yaml:{place}: ") for line in said.splitlines()), said


def test_all_mistakes_are_told_at_once() -> None:
    said = _said("version: 3\ndefaults: {colour: red}\nmodels: [{name: a, model: m, seed: x}]\n")
    assert len(said.splitlines()) == 3


def test_names_are_told_apart_without_regard_to_case() -> None:
    said = _said("version: 1\nmodels:\n- {name: a, model: m, samples: x}\n- {name: A, model: n, samples: x}\n")
    assert said == "ebyd-scan.yaml:4:10: 'A' is the name of a model on line 3 too"


def test_empty_and_missing_files(tmp_path: Path) -> None:
    assert "`ebyd-scan init` writes one" in _said("")
    with pytest.raises(UsageError, match="there is no such file; `ebyd-scan init`"):
        load_project(tmp_path / "ebyd-scan.yaml")
    with pytest.raises(UsageError, match="is a folder, not a project file"):
        load_project(tmp_path)
    (tmp_path / "binary").write_bytes(b"PK\0\1")
    with pytest.raises(UsageError, match="is a binary file"):
        load_project(tmp_path / "binary")


@pytest.mark.parametrize("text", ["[" * 5000, "{a: " * 5000, "- 1\n" * 100_000, "a: " + "x" * 2_000_000])
def test_bombs_end_in_a_sentence(text: str, tmp_path: Path) -> None:
    started = time.monotonic()
    (tmp_path / "bomb.yaml").write_text(text)
    with pytest.raises(UsageError):
        load_project(tmp_path / "bomb.yaml")
    assert time.monotonic() - started < 20  # a busy machine; two seconds on an idle one


def test_five_hundred_models_are_taken() -> None:
    entry = "- {{name: m{0}, model: m{0}.pt, samples: x, mean: [0.1, 0.2, 0.3], policy: quick, size: 32}}\n"
    assert len(_entries("version: 1\nmodels:\n" + "".join(map(entry.format, range(500))))) == 500


def test_pick() -> None:
    entries = _entries("version: 1\ndefaults: {samples: x}\nmodels: [{name: a, model: m}, {name: b, model: n}]\n")
    assert [entry.name for entry in pick(entries, ("b", "a"), Path("p"))] == ["a", "b"]
    assert [entry.name for entry in pick(entries, (), Path("p"))] == ["a", "b"]
    with pytest.raises(UsageError, match="--only c: p has no model of that name"):
        pick(entries, ("c",), Path("p"))


def test_shipped_schema_is_up_to_date() -> None:
    shipped = (files("ebyd_scan.scanner.project") / "project.schema.json").read_text(encoding="utf-8")
    assert shipped == schema_text(project_schema()), (
        "run: python -m ebyd_scan.scanner.project.schema > scanner/project/project.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(project_schema())


def test_the_schema_takes_what_is_valid() -> None:
    text = WHOLE if "html" in FORMATS else WHOLE.replace(", html: page.html", "")
    validator = jsonschema.Draft202012Validator(project_schema())
    data = json.loads(json.dumps(yaml.safe_load(text.replace("1e-5", "0.1"))))
    validator.validate(data)
    data["models"][0]["allow-pickle"] = True
    assert not validator.is_valid(data)
    assert set(project_schema()["$defs"]["ReportPaths"]["properties"]) == set(FORMATS)
