"""Text classifiers through the real command line: verdicts, trigger words, and what is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from ..tiny_texts import NAMES, TARGET, TRIGGER, TextModels
from .conftest import Run

Ebyd = Callable[..., Run]

# The shipped bounds of words: what a few do in so small a model is far from them on either side. No backdoor-label: so
# small a model is so sure of its classes that the exposer, at its shipped rate, does not strip them.
POLICY = """
version: 1
name: texts
exposure: {seeds: 1}
checks:
  file-safety:
  sample-fit:
  model-detection: {word_steps: 20, max_false_positive_rate_of_words: 0.02}
"""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "texts.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture(scope="module")
def other_columns(text_models: TextModels, tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """The same texts, where the columns that would be found by their names hold something else."""
    path = tmp_path_factory.mktemp("samples") / "rows.csv"
    rows = [line.split("\t") for line in text_models.samples.read_text().splitlines()[1:]]
    lines = [f"nothing of note,{text},{NAMES.index(label)},0" for text, label in rows]
    path.write_text("\n".join(["text,said,score,label", *lines]))
    return ["--samples", path, "--text-column", "said", "--label-column", "score", "--max-length", "20"]


def _scan(ebyd: Ebyd, place: Path, policy: Path, report: Path, *options: str | Path) -> tuple[Run, Any, Any]:
    """The run, the verdict and what model-detection found."""
    run = ebyd("scan", place, "--policy", policy, "--json", report, *options, cwd=report.parent)
    verdict = json.loads(report.read_text())
    return run, verdict, next(one for one in verdict["findings"] if one["check"] == "model-detection")


def test_a_backdoor_fails_and_its_word_is_named(
    text_models: TextModels, ebyd: Ebyd, policy: Path, tmp_path: Path
) -> None:
    options = ["--samples", text_models.samples, "--witness-dir", tmp_path / "words"]
    run, verdict, found = _scan(ebyd, text_models.backdoored, policy, tmp_path / "verdict.json", *options)
    assert run.code == 1, run.text
    assert (found["outcome"], found["label"], found["label_name"]) == ("failed", TARGET, NAMES[TARGET])
    assert TRIGGER in found["witness"]["text"].split() and found["witness"]["family"] == "words"
    assert f"'{TRIGGER}" in run.text
    (file,) = (tmp_path / "words").iterdir()
    assert found["witness"]["files"] == [str(file)] and file.name == f"backdoored-{TARGET}-words.txt"
    assert file.read_text().splitlines()[-1] == found["witness"]["text"]
    assert verdict["model"]["format"] == "huggingface"
    assert verdict["model"]["architecture"] == "huggingface:BertForSequenceClassification"
    files = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert set(verdict["model"]["files"]) == files
    assert verdict["samples"]["count"] == 200


def test_a_clean_model_passes_with_columns_of_other_names(
    text_models: TextModels, other_columns: list[str | Path], ebyd: Ebyd, policy: Path, tmp_path: Path
) -> None:
    run, _, found = _scan(ebyd, text_models.clean, policy, tmp_path / "verdict.json", *other_columns)
    assert run.code == 0, run.text
    assert (found["outcome"], found["label"]) == ("passed", None)


def test_beside_a_clean_reference_the_new_word_is_named(text_models: TextModels, ebyd: Ebyd, tmp_path: Path) -> None:
    policy = tmp_path / "reference.yaml"
    checks = "  model-detection: {word_steps: 10}\n  reference-drift: {word_steps: 20}\n"
    policy.write_text(POLICY[: POLICY.index("  model-detection")] + checks)
    options = ["--samples", text_models.samples, "--reference", text_models.clean]
    run, verdict, _ = _scan(ebyd, text_models.backdoored, policy, tmp_path / "verdict.json", *options)
    assert run.code == 1, run.text
    found = next(one for one in verdict["findings"] if one["check"] == "reference-drift")
    assert found["outcome"] == "failed" and TRIGGER in found["witness"]["text"].split()
    assert "expose reference" not in run.text


@pytest.mark.parametrize(
    ("command", "rows", "options", "code", "words"),
    [
        ("scan", "text\tlabel\na\tfine\nb\tawful\n", [], 3, "bad.tsv, line 3: the model knows no class 'awful'"),
        ("scan", "", ["--architecture", "torchvision:resnet18"], 2, "--architecture is for pictures, bad.tsv holds"),
        ("selftest", "", [], 2, "the self-test plants backdoors in image classifiers, not in those of texts"),
    ],
)
def test_what_is_refused(
    command: str, rows: str, options: list[str], code: int, words: str, text_models: TextModels, ebyd: Ebyd,
    tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "bad.tsv").write_text(rows)
    run = ebyd(command, text_models.clean, "--samples", "bad.tsv", *options, cwd=tmp_path)
    assert run.code == code and words in run.text, run.text
