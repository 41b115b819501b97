"""The records of the architectures' benchmark, and the page that is made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
from ebyd_scan.benchmarks.torchvision_model import parts_of  # noqa: E402
from ebyd_scan.benchmarks.torchvision_table import document  # noqa: E402
from ebyd_scan.benchmarks.torchvision_zoo import begin, main, names_of  # noqa: E402


def _record(**changes: Any) -> dict[str, Any]:
    known = {
        **begin("resnet18", timm=False),
        "parameters": 11_178_564,
        "build": {"seconds": 1.0},
        "step": {"seconds": 1.0, "finite": True, "moved": 1.0},
        "scan": {"seconds": 1.0, "exit": 4, "verdict": "inconclusive", "errors": []},
        "export": {
            "seconds": 2.0,
            "export_s": 1.0,
            "graph_logic": {"outcome": "passed", "message": "nothing"},
            "parity": {"outcome": "passed", "message": "the same", "difference": 2e-6},
        },
    }
    return known | changes


def _page(folder: Path, *records: dict[str, Any]) -> str:
    for record in records:
        (folder / f"{record['name']}.json").write_text(json.dumps(record))
    return document(folder, {"torchvision": [record["name"] for record in records], "timm": []})


def test_settings_are_those_of_the_longest_name_that_fits() -> None:
    assert begin("vit_b_32", timm=False)["size"] == 64
    assert begin("vit_b_16", timm=False)["arch_args"] == {"num_classes": 4, "image_size": 32}
    assert begin("vgg11", timm=False)["size"] == 32


def test_all_classifiers_are_listed_the_small_ones_first() -> None:
    names = names_of(timm=False)
    assert len(names) == len(set(names)) >= 80
    assert names.index("squeezenet1_1") < names.index("resnet18") < names.index("regnet_y_128gf")


def test_page(tmp_path: Path) -> None:
    text = _page(tmp_path, _record())
    assert max(map(len, text.splitlines())) <= 120
    assert "| resnet18 | 11.2 | 32 | 1.0 | 1.0 | inconclusive (4) | 1.0 | 1.0 | none | 2e-06 |" in text
    assert "Of 1: built 1, exposed 1, scanned without an error 1 (inconclusive 1), exported 1 of 1 tried" in text
    assert "did not run" not in text


def test_page_says_what_broke(tmp_path: Path) -> None:
    export = _record()["export"]
    text = _page(
        tmp_path,
        _record(scan={"seconds": 1.0, "exit": 3, "verdict": "error", "errors": ["it does not fit"]}),
        _record(name="a", step={"seconds": 1.0, "finite": False, "moved": 1.0}),
        _record(name="b", export={**export, "graph_logic": {"outcome": "failed", "message": "a node decides"}}),
        _record(name="c", export={"seconds": 0.1, "skipped": "too large for a protobuf"}),
    )
    text = " ".join(text.split())  # what was wrapped is whole again
    assert "Of 4: built 4, exposed 3, scanned without an error 3" in text
    assert "exported 3 of 3 tried; `graph-logic`: 1 alarms, no alarm 2" in text
    for said in ("- resnet18, scan: it does not fit", "- a, step:", "- b, export: a node decides", "- c, export: too"):
        assert said in text


@pytest.mark.slow
def test_one_model_from_end_to_end(tmp_path: Path) -> None:
    main.callback(("squeezenet1_1",), False, False, tmp_path, 10.0, None)  # type: ignore[misc]
    record = json.loads((tmp_path / "torchvision-squeezenet1_1.json").read_text())
    assert all("error" not in record[part] for part in parts_of(False))
    assert record["scan"]["exit"] in (0, 1, 4) and not record["scan"]["errors"]
    assert record["step"]["finite"] and record["step"]["moved"] == 1
    assert record["export"]["parity"]["difference"] < 1e-3
