"""`ebyd-scan verify-report`: what is as it was, what has changed, what was edited, what cannot be told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ebyd_scan.evidence.errors import ScanError, UsageError
from ebyd_scan.evidence.finding import Finding, Outcome
from ebyd_scan.evidence.result import ModelInfo, PolicyInfo, SamplesInfo, ScanResult, ToolInfo
from ebyd_scan.policies.decide import decide
from ebyd_scan.policies.load import load_policy
from ebyd_scan.scanner.digests import file_digest, samples_digest
from ebyd_scan.scanner.models.identify import identify
from ebyd_scan.scanner.reports.formats import FORMATS, Given
from ebyd_scan.scanner.verification import Status, Verification, verify

POLICY = "version: 1\nname: ours\nchecks: {file-safety: {}, model-detection: {}}\n"


class Scanned:
    """A folder with a model, samples and a policy, and reports of a scan that might have been."""

    def __init__(self, folder: Path, *, failed: bool = True, model: str = "model.safetensors") -> None:
        self.folder = folder
        (folder / "ours.yaml").write_text(POLICY)
        (folder / "samples.tsv").write_text("text\tlabel\nfine\t1\n")
        if not (folder / model).exists():
            (folder / model).write_bytes(b"weights")
        artifact = identify(folder / model) if (folder / model).is_dir() else None
        digest = artifact.sha256 if artifact else file_digest(folder / model)
        self.policy = load_policy(str(folder / "ours.yaml"))
        bad = Outcome.FAILED if failed else Outcome.PASSED
        findings = [
            Finding(check="file-safety", outcome=Outcome.PASSED, message="Only weights."),
            Finding(check="model-detection", outcome=bad, message="What was seen.", score=3.0, threshold=2.7),
        ]
        verdict, reason = decide(self.policy.policy, findings)
        self.result = ScanResult(
            tool=ToolInfo(version="0.1.0"),
            model=ModelInfo(
                path=model,
                sha256=digest,
                format=artifact.format if artifact else "safetensors",
                files=artifact.files if artifact else None,
            ),
            samples=SamplesInfo(path="samples.tsv", sha256=samples_digest(folder / "samples.tsv"), count=1, classes=2),
            policy=PolicyInfo(name="ours", sha256=self.policy.sha256),
            seed=0,
            started="2026-05-17T09:30:00+00:00",
            verdict=verdict,
            reason=reason,
            findings=findings,
        )
        self.write()

    def write(self, **changes: Any) -> None:
        self.result = self.result.model_copy(update=changes)
        for name in ("json", "statement"):
            (self.folder / f"{name}.json").write_text(FORMATS[name].render(Given(self.result, self.policy)))

    def edit(self, name: str, change: Callable[[Any], None]) -> None:
        data = json.loads((self.folder / name).read_text())
        change(data)
        (self.folder / name).write_text(json.dumps(data))

    def verify(self, name: str = "json.json", **options: Any) -> Verification:
        return verify(self.folder / name, **{"policy": "ours.yaml", **options})


@pytest.mark.parametrize("victim", ["model.safetensors", "samples.tsv", "ours.yaml", "json.json"])
def test_nothing_it_reads_is_overwritten(victim: str, tmp_path: Path, ebyd: Callable[..., Any]) -> None:
    Scanned(tmp_path)
    before = (tmp_path / victim).read_bytes()
    run = ebyd("verify-report", "json.json", "--policy", "ours.yaml", "--json", victim, "-q", cwd=tmp_path)
    assert run.code == 2 and "will not be overwritten" in run.err
    assert (tmp_path / victim).read_bytes() == before


def test_keys_that_forge_a_line(tmp_path: Path, ebyd: Callable[..., Any]) -> None:
    scanned = Scanned(tmp_path)
    scanned.edit("json.json", lambda data: data.update({"\x1b[2J\nUNCHANGED: json.json": 1}))
    run = ebyd("verify-report", "json.json", "--policy", "ours.yaml", cwd=tmp_path)
    assert run.code == 3 and "\x1b" not in run.err and len(run.err.strip().splitlines()) == 1


def test_names_that_no_file_has(tmp_path: Path, ebyd: Callable[..., Any]) -> None:
    for change in ({"path": "x" * 300}, {"path": "x" * 300, "format": "huggingface", "files": {"\ud800": "a"}}):
        scanned = Scanned(tmp_path)
        scanned.edit("json.json", lambda data, change=change: data["model"].update(change))
        run = ebyd("verify-report", "json.json", "--policy", "ours.yaml", cwd=tmp_path)
        assert run.code in (1, 3) and "bug" not in run.err and "Traceback" not in run.err


def _statuses(found: Verification) -> dict[str, Status]:
    order = [Status.CHANGED, Status.MISSING, Status.UNREADABLE, Status.UNCHECKED, Status.SAME]
    return {
        item.what: min((one.status for one in found.items if one.what == item.what), key=order.index)
        for item in found.items
    }


@pytest.fixture
def scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scanned:
    monkeypatch.chdir(tmp_path)
    return Scanned(tmp_path)


BOTH = pytest.mark.parametrize("name", ["json.json", "statement.json"])


@BOTH
def test_all_as_it_was(scanned: Scanned, name: str) -> None:
    found = scanned.verify(name)
    assert found.exit_code == 0
    assert set(_statuses(found).values()) == {Status.SAME}
    assert list(_statuses(found)) == ["report", "model", "samples", "policy", "verdict"]


@BOTH
@pytest.mark.parametrize("what", ["model", "samples"])
def test_a_changed_byte_and_a_missing_file(scanned: Scanned, name: str, what: str) -> None:
    path = Path({"model": "model.safetensors", "samples": "samples.tsv"}[what])
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    found = scanned.verify(name)
    assert (found.exit_code, _statuses(found)[what]) == (1, Status.CHANGED)
    path.rename("elsewhere")
    found = scanned.verify(name)
    assert (found.exit_code, _statuses(found)[what]) == (1, Status.MISSING)
    Path("elsewhere").write_bytes(data)
    assert scanned.verify(name, **{what: Path("elsewhere")}).exit_code == 0
    Path("elsewhere").unlink()
    os.mkfifo(path)
    found = scanned.verify(name)
    assert (found.exit_code, _statuses(found)[what]) == (3, Status.UNREADABLE)


def test_the_policy(scanned: Scanned) -> None:
    found = scanned.verify(policy=None)
    assert (found.exit_code, _statuses(found)["policy"], _statuses(found)["verdict"]) == (4, *(Status.UNCHECKED,) * 2)
    found = scanned.verify(policy="quick")
    assert (found.exit_code, _statuses(found)["policy"]) == (1, Status.CHANGED)
    Path("ours.yaml").write_text(POLICY + "on_inconclusive: pass\n")
    assert _statuses(scanned.verify())["policy"] is Status.CHANGED
    with pytest.raises(UsageError):
        scanned.verify(policy="nowhere.yaml")


def _verdict(data: Any) -> None:
    target = data["predicate"]["ebydScan"] if "predicate" in data else data
    target["verdict"] = "passed"


def _reason(data: Any) -> None:
    target = data["predicate"]["ebydScan"] if "predicate" in data else data
    target["reason"] = "2 checks passed."


def _drop(data: Any) -> None:
    target = data["predicate"]["ebydScan"]["checks"] if "predicate" in data else data["findings"]
    del target[1]


@BOTH
@pytest.mark.parametrize("change", [_verdict, _reason, _drop])
def test_an_edited_verdict_is_noticed(scanned: Scanned, name: str, change: Callable[[Any], None]) -> None:
    scanned.edit(name, change)
    found = scanned.verify(name)
    assert (found.exit_code, _statuses(found)["verdict"]) == (1, Status.CHANGED)


def _result(data: Any) -> None:
    data["predicate"]["result"] = "PASSED"


def _subject(data: Any) -> None:
    data["subject"][0]["digest"]["sha256"] = "00" * 32


def _tests(data: Any) -> None:
    data["predicate"]["passedTests"].append(data["predicate"]["failedTests"].pop())


def _configuration(data: Any) -> None:
    data["predicate"]["configuration"].pop()


@pytest.mark.parametrize("change", [_result, _subject, _tests, _configuration])
def test_a_statement_that_contradicts_itself(scanned: Scanned, change: Callable[[Any], None]) -> None:
    scanned.edit("statement.json", change)
    found = scanned.verify("statement.json")
    assert (found.exit_code, _statuses(found)["report"]) == (1, Status.CHANGED)


def test_unknown_fields_of_a_statement_are_left_alone(scanned: Scanned) -> None:
    scanned.edit("statement.json", lambda data: data["predicate"].update(url="https://example.org"))
    assert scanned.verify("statement.json").exit_code == 0


def test_a_report_with_fields_left_out(scanned: Scanned) -> None:
    scanned.edit("json.json", lambda data: data.pop("exposure"))
    assert _statuses(scanned.verify())["report"] is Status.CHANGED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no valid JSON"),
        ("{", "no valid JSON"),
        ("[" * 200_000, "no valid JSON"),
        ("[]", "neither a JSON report nor a statement"),
        ('{"verdict": "passed", "verdict": "failed"}', "'verdict' stands there twice"),
        ('{"verdict": NaN}', "NaN is no number"),
        ('{"schema_version": "2"}', "no valid report"),
        ('{"_type": "https://in-toto.io/Statement/v1", "predicate": {}}', "no in-toto statement that ebyd-scan"),
        ('{"payloadType": "application/vnd.in-toto+json"}', "signed envelope"),
        ('{"bomFormat": "CycloneDX"}', "is a BOM"),
    ],
)
def test_what_is_no_report(scanned: Scanned, text: str, words: str) -> None:
    Path("other.json").write_text(text)
    with pytest.raises(ScanError, match=words):
        scanned.verify("other.json")


def test_a_folder_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bert").mkdir()
    Path("bert/config.json").write_text("{}")
    Path("bert/model.safetensors").write_bytes(b"weights")
    scanned = Scanned(tmp_path, model="bert")
    for name in ("json.json", "statement.json"):
        assert scanned.verify(name).exit_code == 0
    Path("bert/tokenizer.json").write_text("{}")  # a loader would read it
    found = scanned.verify()
    assert [item.path for item in found.items if item.status is Status.CHANGED] == ["bert/tokenizer.json"]
    Path("bert/tokenizer.json").unlink()
    Path("bert/model.safetensors").unlink()
    assert _statuses(scanned.verify())["model"] is Status.MISSING
    scanned.edit("json.json", lambda data: data["model"]["files"].update({"../../secret": "00" * 32}))
    found = scanned.verify()
    assert _statuses(found)["report"] is Status.CHANGED  # the list's own digest
    assert any("outside of the model's folder" in item.message for item in found.items)


def test_a_scan_that_had_no_digest(scanned: Scanned) -> None:
    message = "gone.pt does not exist: check the path of the model file"
    ended = [
        Finding(check="scan", outcome=Outcome.ERROR, message=message),
        *(
            Finding(check=name, outcome=Outcome.SKIPPED, message="not reached")
            for name in ("file-safety", "model-detection")
        ),
    ]
    nothing = SamplesInfo(path="samples.tsv")
    result = scanned.result.model_copy(
        update={"model": ModelInfo(path="gone.pt"), "samples": nothing, "findings": ended, "reason": message}
    )
    result = result.model_copy(update={"verdict": decide(scanned.policy.policy, ended)[0]})
    Path("json.json").write_text(FORMATS["json"].render(Given(result, scanned.policy)))
    found = scanned.verify()
    assert (found.exit_code, _statuses(found)["verdict"]) == (4, Status.SAME)


def test_samples_in_class_folders(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    from ebyd_scan.scanner.samples.load import load_samples

    for name in ("cat", "dog"):
        for number in range(6):
            place = tmp_path / "clean" / name / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            image.new("L", (4, 4), number).save(place)
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    how: dict[str, Any] = {"num_classes": 2, "size": None, "channels": None, "seed": 0, "held_out": 0.5}
    how |= {"min_per_class": 1, "max_count": 4}
    for classes_file in (None, tmp_path / "names.txt"):
        loaded = load_samples(tmp_path / "clean", classes_file=classes_file, **how)
        assert samples_digest(tmp_path / "clean", classes_file) == loaded.sha256


def test_the_command(ebyd: Callable[..., Any], scanned: Scanned) -> None:
    run = ebyd("verify-report", "json.json", "--policy", "ours.yaml", "-q", "--json", "-", cwd=scanned.folder)
    assert (run.code, run.err) == (0, "")
    assert {item["status"] for item in json.loads(run.out)["items"]} == {"same"}
    scanned.edit("json.json", _verdict)
    run = ebyd("verify-report", "json.json", "--policy", "ours.yaml", cwd=scanned.folder)
    assert run.code == 1 and run.out.startswith("CHANGED: json.json: ") and run.err == ""
    assert "The report says 'passed', but its findings give 'failed'" in run.text
    run = ebyd("verify-report", "gone.json", cwd=scanned.folder)
    assert run.code == 3 and run.out == "" and "gone.json: cannot be read" in run.err
    before = Path("json.json").read_text()
    run = ebyd("verify-report", "json.json", "--json", "json.json", cwd=scanned.folder)
    assert run.code == 2 and Path("json.json").read_text() == before
