"""The ML-BOM is valid under CycloneDX' own 1.6 schema, and says of the model what the scan says."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import referencing
from ebyd_scan.evidence.result import ModelInfo, SamplesInfo, ScanResult, Verdict
from ebyd_scan.policies.load import load_policy
from ebyd_scan.scanner.reports.formats import FORMATS, Given

ResultOf = Callable[..., ScanResult]
pytest.importorskip("cyclonedx")


def _schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((files("cyclonedx.schema._res") / f"{name}.SNAPSHOT.schema.json").read_text())
    return found


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    """Of the official schema; the one of licences and of signatures are resources of their own."""
    bom = _schema("bom-1.6")
    parts = {"spdx.SNAPSHOT.schema.json": "spdx", "jsf-0.82.SNAPSHOT.schema.json": "jsf-0.82"}
    parts["cryptography-defs.SNAPSHOT.schema.json"] = "cryptography-defs"
    resources = {}
    for uri, name in parts.items():
        for base in ("", "http://cyclonedx.org/schema/"):
            resources[base + uri] = referencing.Resource.from_contents(
                _schema(name), default_specification=referencing.jsonschema.DRAFT7
            )
    registry = referencing.Registry().with_resources(list(resources.items()))
    return jsonschema.Draft7Validator(bom, registry=registry, format_checker=jsonschema.FormatChecker())


def _rendered(result: ScanResult) -> dict[str, Any]:
    text = FORMATS["cyclonedx"].render(Given(result, load_policy("release-gate")))
    assert text.isascii() and text.endswith("}\n")
    found: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return found


def _properties(component: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in component["properties"]}


@pytest.mark.parametrize("verdict", list(Verdict))
def test_valid_and_complete(result_of: ResultOf, validator: jsonschema.Draft7Validator, verdict: Verdict) -> None:
    bom = _rendered(result_of(verdict.value))
    validator.validate(bom)
    model, samples = bom["components"]
    assert (model["type"], model["name"]) == ("machine-learning-model", "resnet18.safetensors")
    assert model["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    card = model["modelCard"]
    assert card["modelParameters"]["modelArchitecture"] == "torchvision:resnet18"
    assert card["modelParameters"]["datasets"] == [{"ref": samples["bom-ref"]}]
    assert card["considerations"]["technicalLimitations"]
    assert _properties(model)["ebyd-scan:verdict"] == verdict.value
    assert _properties(model)["ebyd-scan:policy.sha256"] == "ef" * 32
    assert bom["metadata"]["tools"]["components"][0]["name"] == "ebyd-scan"
    refs = [model["bom-ref"], samples["bom-ref"], *(v["bom-ref"] for v in bom.get("vulnerabilities", []))]
    assert len(set(refs)) == len(refs)


def test_the_schema_that_is_held_against_it_refuses(result_of: ResultOf, validator: jsonschema.Draft7Validator) -> None:
    bom = _rendered(result_of("failed"))
    bom["components"][0]["modelCard"]["colour"] = "red"
    assert not validator.is_valid(bom)


def test_what_failed_is_a_vulnerability(result_of: ResultOf) -> None:
    (entry,) = _rendered(result_of("failed"))["vulnerabilities"]
    assert entry["id"] == "ebyd-scan:model-detection" and entry["cwes"] == [506]
    assert entry["affects"] == [{"ref": "model"}] and entry["ratings"][0]["severity"] == "high"
    assert "label 3 (cat)" in entry["detail"] and "95 % of 222" in entry["detail"]
    (unsafe,) = _rendered(result_of("error"))["vulnerabilities"]
    assert (unsafe["cwes"], unsafe["ratings"][0]["severity"]) == ([502], "critical")
    assert "vulnerabilities" not in _rendered(result_of("passed"))
    assert "vulnerabilities" not in _rendered(result_of("inconclusive"))


def test_what_was_measured(result_of: ResultOf) -> None:
    metrics = _rendered(result_of("failed"))["components"][0]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    rate = next(one for one in metrics if one["type"] == "attack success rate")
    assert rate["value"] == "0.951" and "222 held-out samples" in rate["slice"] and "3 (cat)" in rate["slice"]
    assert {"type": "accuracy", "value": "0.918", "slice": "250 clean samples"} in metrics
    assert sum(one["type"] == "accuracy" for one in metrics) == 1
    assert {"type": "ebyd-scan:model-detection score", "value": "0.24", "slice": "threshold 0.5"} in metrics


def test_folders_and_unreadable_files(result_of: ResultOf, validator: jsonschema.Draft7Validator) -> None:
    names = {"config.json": "11" * 32, "model.safetensors": "22" * 32}
    folder = ModelInfo(path="nets/bert/", sha256="33" * 32, format="huggingface", files=names)
    bom = _rendered(result_of("passed", model=folder, samples=SamplesInfo(path="r.tsv", sha256="44" * 32)))
    validator.validate(bom)
    model, samples = bom["components"]
    assert "hashes" not in model  # the digest is of a list, no file has it
    assert [one["hashes"][0]["content"] for one in model["components"]] == list(names.values())
    assert samples["hashes"][0]["content"] == "44" * 32
    validator.validate(_rendered(result_of("error", model=ModelInfo(path="gone.pt"), exposure=None)))


def test_the_same_result_gives_the_same_text(result_of: ResultOf) -> None:
    one, two = _rendered(result_of("failed")), _rendered(result_of("failed"))
    assert one == two
    assert _rendered(result_of("failed", seed=1))["serialNumber"] != one["serialNumber"]


def test_hostile_text(hostile: ScanResult, validator: jsonschema.Draft7Validator) -> None:
    bom = _rendered(hostile)
    validator.validate(bom)
    assert not any(ord(c) < 32 for one in bom["components"] for c in one["name"])
    assert "\x1b" not in json.dumps(bom, ensure_ascii=False)
