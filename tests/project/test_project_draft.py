"""What `init` finds in a folder, and that what it writes can be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from ebyd_scan.scanner.project.draft import Draft, find_models, find_samples, text_of
from ebyd_scan.scanner.project.load import entries_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        *("a.safetensors", "nets/b.onnx", "nets/bert/config.json", "nets/bert/model.safetensors"),
        *("nets/bert/tokens.csv", ".hidden/c.pt", "venv/d.pt", "one/two/three/four/e.pt", "notes.txt"),
        *("data/clean/cat/1.png", "data/x.npz", "data/reviews.tsv"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_models_and_samples_are_found(folder: Path) -> None:
    assert [path.relative_to(folder).as_posix() for path in find_models(folder)] == [
        *("a.safetensors", "nets/b.onnx", "nets/bert"),
    ]
    assert [path.relative_to(folder).as_posix() for path in find_samples(folder)] == [
        *("data/clean", "data/x.npz", "data/reviews.tsv"),
    ]


def test_what_is_written_can_be_read(folder: Path) -> None:
    options = {"arch-args": {"classes": 10, "rate": 1e-5, "name": "yes"}, "mean": [0.1, 0.2, 0.3], "size": 32}
    models = [folder / "a.safetensors", folder / "nets" / "b.onnx", folder / "nets" / "a.pt"]
    draft = Draft(models, folder / "data" / "clean", str(folder / "n.py") + ":net", options)
    text = text_of(draft, folder / "ci")
    one, two, three = entries_of(text.encode(), folder / "ci" / "ebyd-scan.yaml")
    assert [entry.name for entry in (one, two, three)] == ["a", "b", "a-2"]
    assert one.options["model"].resolve() == folder / "a.safetensors"
    assert one.options["samples"].resolve() == folder / "data" / "clean"
    assert one.options["arch_args"] == options["arch-args"]
    assert Path(one.options["architecture"].removesuffix(":net")).resolve() == folder / "n.py"
    assert two.options["architecture"] is None  # a graph brings its own
    assert one.options["mean"] == (0.1, 0.2, 0.3) and one.options["size"] == (32, 32)
    assert one.reports["junit"] == folder / "ci" / "reports" / "a.junit.xml"


@pytest.mark.parametrize(
    "name", ["yes.pt", "1.pt", "null.pt", "a: b.pt", "'x'.pt", "#.pt", "\N{SNOWMAN}.pt", "- a.pt", "{x}.pt"]
)
def test_names_that_yaml_reads_otherwise(name: str, tmp_path: Path) -> None:
    text = text_of(Draft([tmp_path / name], tmp_path / "s.npz"), tmp_path)
    (entry,) = entries_of(text.encode(), tmp_path / "ebyd-scan.yaml")
    assert entry.options["model"] == tmp_path / name
