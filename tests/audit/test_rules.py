"""Rules: what a pattern matches, which rule goes before which, and what is wrong with a file of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ebyd_scan.evidence.errors import UsageError
from ebyd_scan.scanner.audit.plan import Plan, read_plan
from ebyd_scan.scanner.audit.rules import matcher


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("net.pt", ["net.pt", "a/net.pt", "a/b/net.pt"], ["net.pth", "a/net.pt/b", "xnet.pt", "NET.pt"]),
        ("resnet18-*.pt", ["resnet18-.pt", "a/resnet18-x.pt"], ["resnet18-x/y.pt", "resnet50-x.pt"]),
        ("*", ["a", "a/b", ".hidden"], []),
        ("a?.pt", ["ab.pt", "x/ab.pt"], ["a.pt", "a/.pt", "abc.pt"]),
        ("m[0-3x].pt", ["m0.pt", "mx.pt"], ["m4.pt", "m.pt"]),
        ("m[!0-3].pt", ["m4.pt"], ["m0.pt", "m/.pt"]),
        ("[.pt", ["[.pt"], [".pt", "a.pt"]),
        ("[z-a].pt", [], ["z.pt", "b.pt"]),
        ("/net.pt", ["net.pt"], ["a/net.pt"]),
        ("vision/*.pt", ["vision/a.pt"], ["vision/a/b.pt", "x/vision/a.pt", "vision/.pth"]),
        ("vision/**", ["vision", "vision/a", "vision/a/b"], ["visions/a", "x/vision/a"]),
        ("**/old", ["old", "a/old", "a/b/old"], ["old/a", "aold"]),
        ("**/old/**", ["old", "a/old/b", "old/a/b"], ["a/bold/c"]),
        ("vision/**/*.pt", ["vision/a.pt", "vision/a/b/c.pt"], ["vision", "vision/a.pth", "a.pt"]),
        ("a/**/b/**/c", ["a/b/c", "a/x/b/y/z/c", "a/b/b/c"], ["a/c", "a/x/c", "a/b/c/d"]),
        ("**", ["a", "a/b"], []),
        ("a**b", ["ab", "axb", "x/axb"], ["a/b"]),
        ("a/*/c", ["a/b/c"], ["a/c", "a/b/b/c"]),
        ("a.b", ["a.b"], ["axb"]),
        ("(a|b)+$", ["(a|b)+$"], ["a"]),
        ("ü*", ["ünet"], ["unet"]),
    ],
)
def test_patterns(pattern: str, matched: list[str], others: list[str]) -> None:
    matches = matcher(pattern)
    assert [path for path in matched if not matches(path)] == []
    assert [path for path in others if matches(path)] == []


def test_no_pattern_is_slow() -> None:
    started = time.monotonic()
    assert not matcher("**/" * 50 + "x")("a/" * 2000 + "a")
    assert not matcher("*a" * 100 + "b")("a" * 4000)
    assert not matcher("a/" + "*a" * 100 + "b")("a/" + "a" * 255)
    assert time.monotonic() - started < 10


def _plan(folder: Path, rules: str, **defaults: object) -> Plan:
    zoo = folder / "zoo"
    for name in ("vision/r18-a.pt", "vision/r18-b.pt", "vision/old/r18-c.pt", "vision/old/keep.pt", "text/t.onnx"):
        (zoo / name).parent.mkdir(parents=True, exist_ok=True)
        (zoo / name).write_bytes(name.encode())
    (folder / "clean").mkdir(exist_ok=True)
    (folder / "rules.yaml").write_text(rules)
    return read_plan(zoo, rules=folder / "rules.yaml", defaults=defaults)


RULES = """\
version: 1
defaults: {samples: clean, policy: quick, size: 32, mean: 0.5}
rules:
  - {match: "*.pt", architecture: "torchvision:resnet18", arch-args: {num_classes: 10}, size: 64}
  - {match: "vision/**", seed: 3, size: [8, 9], reference: "approved/{name}"}
  - {match: "vision/old/**", skip: "retired"}
  - {match: "keep.pt", skip: , size: , samples: other, mean: }
  - {match: "*.h5", size: 3}
"""


def test_later_rules_go_before_earlier_ones_key_by_key(tmp_path: Path) -> None:
    plan = _plan(tmp_path, RULES, seed=9, size=(1, 1), std=(0.1,), mean=(0.9,))
    found = {one.name: one for one in plan.planned}
    assert list(found) == ["text-t.onnx", "vision-old-keep.pt", "vision-r18-a.pt", "vision-r18-b.pt"]
    onnx, keep, first = (found[name].options for name in ("text-t.onnx", "vision-old-keep.pt", "vision-r18-a.pt"))
    assert (onnx["architecture"], onnx["size"], onnx["seed"], onnx["std"]) == (None, (32, 32), 9, (0.1,))
    assert (first["architecture"], first["arch_args"]) == ("torchvision:resnet18", {"num_classes": 10})
    assert (first["size"], first["seed"], first["mean"]) == ((8, 9), 3, (0.5,))
    assert first["reference"] == tmp_path / "approved/vision-r18-a.pt"
    assert (first["samples"], keep["samples"]) == (tmp_path / "clean", tmp_path / "other")
    assert (keep["size"], keep["mean"]) == (None, None)  # said to be none, which the command line does not change
    assert found["text-t.onnx"].where == "rules.yaml: defaults"
    assert found["vision-r18-a.pt"].where == "rules.yaml: rules 1 and 2"
    assert found["vision-old-keep.pt"].where == "rules.yaml: rules 1, 2, 3 and 4"
    assert [(one.path, one.reason) for one in plan.left_out] == [
        (str(tmp_path / "zoo/vision/old/r18-c.pt"), "retired (rules.yaml: rule 3)")
    ]
    assert plan.notes == (f"{tmp_path}/rules.yaml:8: rule 5, `*.h5`, matches no model",)
    assert {tmp_path / "zoo", tmp_path / "rules.yaml", tmp_path / "clean", tmp_path / "other"} <= set(plan.inputs)


def test_a_folder_that_is_skipped_is_not_walked(tmp_path: Path) -> None:
    plan = _plan(tmp_path, 'version: 1\nrules: [{match: "vision/**", skip: later}]\n', samples=tmp_path / "clean")
    assert [one.name for one in plan.planned] == ["text-t.onnx"] and plan.notes == ()
    assert [(one.path, one.reason) for one in plan.left_out] == [
        (f"{tmp_path}/zoo/vision/", "later (rules.yaml: rule 1)")
    ]


def test_without_rules_the_options_are_the_command_lines(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"x")
    (one,) = read_plan(tmp_path, defaults={"samples": tmp_path, "seed": 4, "arch_args": ("a=1",)}).planned
    assert (one.where, one.options["seed"], one.options["arch_args"]) == ("command line", 4, ("a=1",))
    assert one.options["policy_name"] == "release-gate" and one.problem is None


RULE = 'version: 1\nrules:\n  - {match: "*", '


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (RULE + "sise: 3}\n", "3:18", "unknown key 'sise' in rules.0; did you mean 'size'?"),
        (RULE + "allow-pickle: true}\n", "3:18", "cannot be set in a rules file: give --allow-pickle to the run"),
        ("version: 1\ndefaults: {trust-remote-code: true}\n", "2:12", "give --trust-remote-code to the run"),
        ("version: 1\ndefaults: {reports: {json: x}}\n", "2:12", "unknown key 'reports' in defaults"),
        ("version: 1\nrules: [{size: 3}]\n", "2:9", "'rules.0.match' is missing"),
        (RULE + "skip: true}\n", "3:24", "skip must be text, not true"),
        (RULE + "skip: ''}\n", "3:24", "skip must not be empty"),
        (RULE + "architecture: resnet}\n", "3:32", "must be torchvision:NAME"),
        ("version: 1\nrules: [{match: a/}]\n", "2:17", "must not end with a slash: /** is everything"),
        ("version: 1\nrules: [{match: a//b}]\n", "2:17", "without empty parts and dots"),
        ("version: 1\nrules: [{match: ../b}]\n", "2:17", "without empty parts and dots"),
        ("version: 1\nrules: [{match: ''}]\n", "2:17", "must not be empty"),
        ("version: 2\n", "1:10", "must be 1"),
        ("version: true\n", "1:10", "must be 1"),
        ("version: 1\nmodels: []\n", "2:1", "unknown key 'models'; valid here: version, defaults, rules"),
        ("version: 1\nrules: &a [*a]\n", "2:8", "anchors are not allowed in a rules file"),
        ("- 1\n", "1:1", "a rules file is a mapping"),
        ("rules: [\n", "", "is not valid YAML"),
        ("version: 1\nrules: [" + "{match: a}, " * 1001 + "]\n", "2:8", "must not be longer than 1000"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, place: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        _plan(tmp_path, text)
    said = str(caught.value)
    assert words in said
    assert any(line.startswith(f"{tmp_path}/rules.yaml:{place}") for line in said.splitlines()), said


def test_all_mistakes_are_told_at_once_and_an_empty_file_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        _plan(tmp_path, "version: 3\ndefaults: {colour: red}\nrules: [{match: a/, seed: x}]\n")
    assert len(str(caught.value).splitlines()) == 4
    with pytest.raises(UsageError, match="is empty, and a rules file begins with `version: 1`"):
        _plan(tmp_path, "")
    with pytest.raises(UsageError, match="there is no such file"):
        read_plan(tmp_path, rules=tmp_path / "none.yaml", defaults={})


def test_rules_in_the_folder_are_taken_where_they_are_named_and_told(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"x")
    (tmp_path / "rules.yaml").write_text("version: 1\ndefaults: {seed: 5}\n")
    plan = read_plan(tmp_path, rules=tmp_path / "rules.yaml", defaults={})
    assert plan.planned[0].options["seed"] == 5
    assert "lies in the folder that is audited" in plan.notes[0]
    assert [(one.path, one.reason) for one in plan.left_out] == [(str(tmp_path / "rules.yaml"), "the rules")]
