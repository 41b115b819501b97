"""The examples of docs/audit-manifest.md are read as the page says."""

from __future__ import annotations

import re
from pathlib import Path

from ebyd_scan.scanner.audit.manifest_csv import table_of
from ebyd_scan.scanner.audit.plan import read_plan

PAGE = (Path(__file__).parents[2] / "docs" / "audit-manifest.md").read_text(encoding="utf-8")
TABLE, MANIFEST, RULES = re.findall(r"```(?:csv|yaml)\n(.*?)```", PAGE, flags=re.S)


def test_the_table() -> None:
    asked = table_of(TABLE.encode(), Path("models.csv"))
    assert [one.name for one in asked.wanted] == [
        "resnets-a.safetensors",
        "second",
        "exported-net.onnx",
        "reviews-bert",
    ]
    first, second = (one.said for one in asked.wanted[:2])
    assert first["arch_args"] == second["arch_args"] == {"num_classes": 10}
    assert (first["mean"], first["std"]) == ((0.49, 0.48, 0.45), (0.2, 0.2, 0.2))
    assert (first["size"], second["size"], second["policy_name"]) == ((32, 32), (32, 48), "quick")


def test_the_manifest(tmp_path: Path) -> None:
    for name in ("incoming/resnet18-x.safetensors", "incoming/old/y.pt", "archive/2023/net.pt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "models.yaml").write_text(MANIFEST)
    plan = read_plan(tmp_path / "models.yaml", defaults={})
    assert [one.name for one in plan.planned] == [
        "resnets-a.safetensors", "reviews-bert", "incoming-resnet18-x.safetensors", "archive-2023-net.pt",
    ]  # fmt: skip
    assert plan.planned[1].options["mean"] is None and plan.planned[0].options["mean"] == (0.5,)
    assert plan.left_out[0].reason == "retired (models.yaml: rule 2)"


def test_the_rules(tmp_path: Path) -> None:
    for name in ("a.safetensors", "vision/x/b.pt", "reviews-1.pt", "old/c.pt", "old/keep.pt"):
        (tmp_path / "zoo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "zoo" / name).write_bytes(name.encode())
    (tmp_path / "rules.yaml").write_text(RULES)
    plan = read_plan(tmp_path / "zoo", rules=tmp_path / "rules.yaml", defaults={})
    options = {one.name: one.options for one in plan.planned}
    assert list(options) == ["a.safetensors", "old-keep.pt", "reviews-1.pt", "vision-x-b.pt"] and plan.notes == ()
    assert options["a.safetensors"]["architecture"] == "torchvision:resnet18"
    assert (options["reviews-1.pt"]["size"], options["reviews-1.pt"]["policy_name"]) == (None, "quick")
    assert options["vision-x-b.pt"]["mean"] == (0.49, 0.48, 0.45)
