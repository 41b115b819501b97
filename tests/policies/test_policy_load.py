"""Policy files: every mistake is told in a sentence with its place; nothing wrong is taken silently."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from ebyd_scan.evidence.errors import UsageError
from ebyd_scan.policies.load import built_in_names, built_in_text, load_policy

ErrorsOf = Callable[[str | bytes], list[str]]
HEAD = "version: 1\nname: mine\n"

pytestmark = pytest.mark.usefixtures("toys")


def test_full_policy(tmp_path: Path) -> None:
    path = tmp_path / "full.yaml"
    path.write_text(
        HEAD + "description: all of it\n"
        "exposure: {method: clean-unlearning, seeds: 5, options: {rate: 1e-3}}\n"
        "checks:\n"
        "  toy: {threshold: 1, names: [x], limit: null, on_inconclusive: fail}\n"
        "  plain:\n"
        "on_inconclusive: pass\n"
        "samples: {held_out: 0.3, min_per_class: 2, max_count: 10}\n"
        "limits: {timeout: 60, memory: 0.5}\n"
    )
    loaded = load_policy(str(path))
    policy = loaded.policy
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.source == str(path)
    assert list(policy.checks) == ["toy", "plain"]
    assert policy.checks["toy"]["on_inconclusive"] == "fail"
    assert policy.checks["plain"] == {}
    assert policy.exposure.options == {"rate": 0.001}
    assert (policy.exposure.seeds, policy.samples.held_out, policy.limits.memory) == (5, 0.3, 0.5)


def test_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + (HEAD + "checks: {toy: }\n").replace("\n", "\r\n").encode())
    assert load_policy(str(path)).policy.name == "mine"


CASES = {
    "unknown key": (
        HEAD + "chekcs: {toy: {}}\n",
        ["1:1: 'checks' is missing", "3:1: unknown key 'chekcs'; did you mean 'checks'?"],
    ),
    "nested": (
        HEAD + "samples:\n  heldout: 0.2\nchecks: {toy: {}}\n",
        ["4:3: unknown key 'heldout' in samples; did you mean 'held_out'?"],
    ),
    "option": (
        HEAD + "checks:\n  toy:\n    treshold: 0.2\n",
        ["5:5: unknown key 'treshold' in checks.toy; did you mean 'threshold'?"],
    ),
    "far off": (
        HEAD + "checks: {toy: {}}\nlimits: {zzz: 1}\n",
        ["4:10: unknown key 'zzz' in limits; valid here: timeout, memory"],
    ),
    "check": (HEAD + "checks:\n  toyy: {}\n", ["4:3: unknown check 'toyy'; did you mean 'toy'?"]),
    "exposer": (
        HEAD + "exposure:\n  method: clean-unlerning\nchecks: {toy: {}}\n",
        ["4:11: unknown exposer 'clean-unlerning'; did you mean 'clean-unlearning'?"],
    ),
    "exposer option": (
        HEAD + "exposure: {options: {rate: 0}}\nchecks: {toy: {}}\n",
        ["3:28: exposure.options.rate must be greater than 0, not 0"],
    ),
    "type": (
        HEAD + "checks: {toy: {steps: ten}}\n",
        ["3:23: checks.toy.steps must be a whole number, not the text 'ten'"],
    ),
    "quoted": (
        HEAD + 'checks: {toy: {steps: "10"}}\n',
        ["3:23: checks.toy.steps must be a whole number, not the text '10'"],
    ),
    "fraction": (HEAD + "checks: {toy: {steps: 1.5}}\n", ["3:23: checks.toy.steps must be a whole number, not 1.5"]),
    "yes": (HEAD + "checks: {toy: {steps: yes}}\n", ["3:23: checks.toy.steps must be a whole number, not yes"]),
    "range": (HEAD + "checks: {toy: {threshold: 1.5}}\n", ["3:27: checks.toy.threshold must be at most 1, not 1.5"]),
    "seeds": (HEAD + "exposure: {seeds: 21}\nchecks: {toy: }\n", ["3:19: exposure.seeds must be at most 20, not 21"]),
    "infinite": (
        HEAD + "checks: {toy: {threshold: .inf}}\n",
        ["3:27: checks.toy.threshold must be a finite number, not .inf"],
    ),
    "choice": (
        HEAD + "checks: {toy: {mode: fats}}\n",
        ["3:22: checks.toy.mode must be 'fast' or 'deep', not the text 'fats'; did you mean 'fast'?"],
    ),
    "list": (HEAD + "checks: {toy: {names: x}}\n", ["3:23: checks.toy.names must be a list, not the text 'x'"]),
    "item": (HEAD + "checks: {toy: {names: [x, 1]}}\n", ["3:27: checks.toy.names.1 must be text, not 1"]),
    "union": (HEAD + "checks: {toy: {limit: x}}\n", ["3:23: checks.toy.limit must be a number, not the text 'x'"]),
    "inconclusive": (
        HEAD + "on_inconclusive: ignore\nchecks: {toy: {on_inconclusive: failed}}\n",
        [
            "3:18: on_inconclusive must be 'inconclusive', 'fail' or 'pass', not the text 'ignore'",
            "4:33: checks.toy.on_inconclusive must be 'inconclusive', 'fail' or 'pass', not the text 'failed'; "
            "did you mean 'fail'?",
        ],
    ),
    "no checks": (HEAD + "checks: {}\n", ["3:9: checks must not be empty"]),
    "checks null": (HEAD + "checks:\n", ["3:8: checks must be a mapping of keys to values, not empty"]),
    "checks list": (HEAD + "checks: [toy]\n", ["3:9: checks must be a mapping of keys to values, not a list"]),
    "check scalar": (HEAD + "checks: {toy: 3}\n", ["3:15: checks.toy must be a mapping of keys to values, not 3"]),
    "version": ("version: 2\nname: x\nchecks: {toy: }\n", ["1:10: version must be 1, not 2"]),
    "version true": ("version: true\nname: x\nchecks: {toy: }\n", ["1:10: version must be 1, not true"]),
    "name": ("version: 1\nname: 3\nchecks: {toy: }\n", ["2:7: name must be text, not 3"]),
    "date": ("version: 1\nname: 2026-01-01\nchecks: {toy: }\n", ["2:7: '2026-01-01' is a date: put it in quotes"]),
    "duplicate": (HEAD + "name: other\nchecks: {toy: }\n", ["3:1: 'name' stands here twice, first on line 2"]),
    "duplicate check": (HEAD + "checks:\n  toy: {}\n  toy: {}\n", ["5:3: 'toy' stands here twice, first on line 4"]),
    "alias": (HEAD + "checks: {toy: &a {}, plain: *a}\n", ["3:15: anchors are not allowed in a policy: remove &a"]),
    "tag": (
        HEAD + "checks: {toy: !!python/object:os.x {}}\n",
        ["3:15: this is tagged tag:yaml.org,2002:python/object:os.x, which is not allowed"],
    ),
    "key": (HEAD + "1: 2\nchecks: {toy: }\n", ["3:1: key '1' must be text"]),
    "key mapping": (HEAD + "? {a: b}\n: 2\nchecks: {toy: }\n", ["3:3: key must be text"]),
    "documents": (
        HEAD + "checks: {toy: }\n---\nname: x\n",
        ["4:1: a policy is one document, and a second one starts here"],
    ),
    "list on top": ("- version: 1\n", ["1:1: a policy is a mapping of keys to values at its top level"]),
    "scalar on top": ("hello\n", ["1:1: a policy is a mapping of keys to values at its top level"]),
    "control": (HEAD + "description: a\x1bb\n", ["3:15: character U+001B is not allowed"]),
    "deep": (HEAD + "checks: " + "[" * 5000, ["3:28: nested deeper than 20 levels"]),
    "number": (HEAD + "description: " + "9" * 5000 + "\n", [f"3:14: '{'9' * 40}' cannot be read as int"]),
    "surrogate": (HEAD + 'description: "\\ud800"\n', ["3:14: '\\ud800' cannot be read as str"]),
    "two at once": (
        "version: 1\nexposure: {seeds: 0}\nchecks: {toy: {steps: 0}, toyy: }\n",
        [
            "1:1: 'name' is missing",
            "2:19: exposure.seeds must be at least 1, not 0",
            "3:23: checks.toy.steps must be at least 1, not 0",
            "3:27: unknown check 'toyy'; did you mean 'toy'?",
        ],
    ),
    "broken": (
        HEAD + "checks: {broken: }\n",
        ["3:10: check 'broken' cannot be imported from toys:Broken: ModuleNotFoundError: No module named 'toys'"],
    ),
    "function": (HEAD + "checks: {function: }\n", ["3:10: check 'function' is not a class: toys:function"]),
    "positional": (
        HEAD + "checks: {positional: }\n",
        ["3:10: PositionalCheck: 'depth' is not a keyword-only argument with a default"],
    ),
}


@pytest.mark.parametrize("content, expected", CASES.values(), ids=CASES.keys())
def test_mistakes(policy_error: ErrorsOf, content: str, expected: list[str]) -> None:
    assert policy_error(content) == expected


@pytest.mark.parametrize("text", ["a: [1, 2\n", "a: b: c\n", "\t- a\n", 'a: "open\n', "%YAML 9\n", "a: !x!y z\n"])
def test_not_yaml(policy_error: ErrorsOf, text: str) -> None:
    (line,) = policy_error(text)
    assert "is not valid YAML: " in line
    assert line.split(":")[0].isdigit()


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "is empty; "),
        (b"# only a comment\n", "is empty; "),
        (b"\x80\x04\x95\x00\x00\x00", "is a binary file, not YAML text"),
        (b"name: caf\xe9\n", "1: is not UTF-8 text"),
        (b"# " + b"x" * (1 << 20), "is larger than 1 MiB, which no policy is"),
    ],
)
def test_not_a_policy_at_all(policy_error: ErrorsOf, content: bytes, sentence: str) -> None:
    (line,) = policy_error(content)
    assert line.startswith(sentence)


def test_folder_missing_and_misspelt(tmp_path: Path) -> None:
    for name, sentence in {
        str(tmp_path): "is a folder, not a policy file",
        str(tmp_path / "no.yaml"): "there is no such file",
        "relese-gate": "there is no such file and no built-in policy; did you mean 'release-gate'?",
        "zzz": "there is no such file and no built-in policy; valid here: release-gate, quick, audit",
        "/dev/zero": "is not a regular file",
    }.items():
        with pytest.raises(UsageError) as caught:
            load_policy(name)
        assert str(caught.value) == f"{name}: {sentence}"


def test_aliases_that_explode_are_refused_quickly(policy_error: ErrorsOf) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join(['*a' + str(i - 1)] * 9)}]" for i in range(1, 30)]
    assert policy_error("\n".join(lines)) == ["1:5: anchors are not allowed in a policy: remove &a0"]


def test_endless_lists_and_endless_mistakes(policy_error: ErrorsOf) -> None:
    (line,) = policy_error("a: [" + "1," * 100_000 + "]\n")
    assert line.endswith("goes on for longer than any policy does")
    lines = policy_error("".join(f"k{i}: 1\n" for i in range(200)))
    assert len(lines) == 51
    assert lines[-1] == "and 153 more"


def test_unknown_built_in() -> None:
    assert built_in_names()[0] == "release-gate"
    with pytest.raises(UsageError, match="did you mean 'quick'"):
        built_in_text("quik")
