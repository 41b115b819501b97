"""`ebyd-scan audit` through the real command line: a folder of good, bad, broken and hostile files."""

from __future__ import annotations

import csv
import json
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
junitparser = pytest.importorskip("junitparser")
Ebyd = Callable[..., Any]
MODELS = Path(__file__).parents[2] / "fixtures" / "models"
# One run and one kind of trigger, on too few samples for a pass: the path through the code, quickly.
POLICY = """\
version: 1
name: fast
exposure: {method: clean-unlearning, seeds: 1}
checks:
  file-safety: {}
  sample-fit: {}
  backdoor-label: {}
  model-detection: {families: [patch], steps: 100, min_per_class: 10}
samples: {max_count: 400}
"""
RULES = f"""\
version: 1
defaults: {{samples: {MODELS / "digits-samples.npz"}, policy: policy.yaml, mean: [0.3], std: [0.35]}}
rules:
  - match: "*.safetensors"
    architecture: "ebyd_scan.fixtures.networks:plain_convnet"
    arch-args: {{channels: 1, width: 16}}
"""
STATIC = "version: 1\nname: static\nchecks: {file-safety: {}}\n"


class Payload:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch canary",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an auditor finds: four models of which two are the same, one broken, one hostile, and a text."""
    place = tmp_path_factory.mktemp("audit")
    models = place / "models"
    (models / "old").mkdir(parents=True)
    shutil.copy2(MODELS / "digits-badnets.safetensors", models / "bad.safetensors")
    shutil.copy2(MODELS / "digits-badnets.safetensors", models / "old" / "bad.safetensors")
    shutil.copy2(MODELS / "digits-clean.safetensors", models / "clean.safetensors")
    (models / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{not json")
    (models / "evil.pt").write_bytes(pickle.dumps(Payload()))
    (models / "README.md").write_text("models")
    (models / "ebyd-scan.yaml").write_text("version: 1\nmodels: []\n")  # nobody has asked for it
    (place / "policy.yaml").write_text(POLICY)
    (place / "static.yaml").write_text(STATIC)
    (place / "rules.yaml").write_text(RULES)
    time.sleep(2.5)  # what has changed just now is read again
    return place


@pytest.fixture(scope="module")
def audited(ebyd: Ebyd, folder: Path) -> Any:
    """One audit with all reports."""
    files = [f"--{name}=audit.{name}" for name in ("json", "junit", "sarif", "csv")]
    return ebyd("audit", "models", "--rules", "rules.yaml", *files, "--html", "report", cwd=folder)


def test_the_worst_model_gives_the_exit_code_and_nothing_is_run(audited: Any, folder: Path) -> None:
    assert audited.code == 1
    assert "2 of 5 models must not be shipped" in audited.text
    assert not list(folder.rglob("canary"))
    assert "README.md" in audited.out
    assert "5 of 5 models" in audited.err.splitlines()[-1]


def test_every_report_says_the_same(audited: Any, folder: Path) -> None:
    audit = json.loads((folder / "audit.json").read_text())
    verdicts = {model["name"]: model["result"]["verdict"] for model in audit["models"]}
    assert verdicts["bad.safetensors"] == verdicts["old-bad.safetensors"] == "failed"
    assert verdicts["broken.safetensors"] == verdicts["evil.pt"] == "error"
    assert verdicts["clean.safetensors"] in ("passed", "inconclusive")
    suites = {suite.name: suite for suite in junitparser.JUnitXml.fromfile(str(folder / "audit.junit"))}
    assert suites["bad.safetensors"].failures and suites["evil.pt"].tests
    rows = list(csv.DictReader((folder / "audit.csv").open(newline="")))
    assert {row["name"]: row["verdict"] for row in rows} == verdicts
    sarif = json.loads((folder / "audit.sarif").read_text())
    assert {one["ruleId"] for one in sarif["runs"][0]["results"]} >= {"model-detection", "file-safety"}
    index = (folder / "report" / "index.html").read_text()
    pages = {page.name for page in (folder / "report" / "models").iterdir()}
    assert len(pages) == 5 and all(f'href="./models/{page}"' in index for page in pages)
    assert "data:image/png" in next((folder / "report" / "models").glob("bad*")).read_text()  # its trigger


def test_a_second_run_answers_from_the_store(ebyd: Ebyd, audited: Any, folder: Path) -> None:
    again = ebyd("audit", "models", "--rules", "rules.yaml", "--html", "report", "--json", "-", cwd=folder)
    models = json.loads(again.out)["models"]
    assert again.code == 1 and {model["source"] for model in models} == {"store"}
    first = json.loads((folder / "audit.json").read_text())["models"]
    assert [model["result"]["findings"] for model in models] == [model["result"]["findings"] for model in first]


def test_show_and_compare(ebyd: Ebyd, audited: Any, folder: Path) -> None:
    shown = ebyd("audit", "show", "1", "--csv", "-", cwd=folder)
    assert shown.code == 1 and shown.out == (folder / "audit.csv").read_text()
    listed = ebyd("audit", "show", "--list", cwd=folder)
    assert listed.code == 0 and listed.out.splitlines()[0].split()[0] == "1"
    same = ebyd("audit", "compare", "1", "1", cwd=folder)
    assert same.code == 0 and "5 unchanged" in same.text
    assert ebyd("audit", "show", "77", cwd=folder).code == 2
    assert ebyd("audit", "show", "--store", "none.sqlite", cwd=folder).code == 2
    assert not (folder / "none.sqlite").exists()


def test_what_would_be_done(ebyd: Ebyd, audited: Any, folder: Path) -> None:
    run = ebyd("audit", "models", "--rules", "rules.yaml", "--dry-run", cwd=folder)
    assert run.code == 0 and run.out.count("answered from the store") >= 3
    fresh = ebyd("audit", "models", "--rules", "rules.yaml", "--dry-run", "--store", "x.sqlite", "--json=-", cwd=folder)
    states = {model["name"]: model["state"] for model in json.loads(fresh.out)["models"]}
    assert states["clean.safetensors"] == "new" and states["evil.pt"] == "cannot be scanned"
    assert not (folder / "x.sqlite").exists()


def test_only_and_since(ebyd: Ebyd, audited: Any, folder: Path) -> None:
    options = ["audit", "models", "--rules", "rules.yaml", "--json", "-", "-q"]
    failed = ebyd(*options, "--only", "failed", cwd=folder)
    assert {model["name"] for model in json.loads(failed.out)["models"]} == {"bad.safetensors", "old-bad.safetensors"}
    assert len(json.loads(failed.out)["left_out"]) > 3
    none = ebyd(*options, "--since", "2100-01-01", cwd=folder)
    assert none.code == 2 and "no model is left" in none.text
    every = ebyd(*options, "--since", "1d", cwd=folder)
    assert len(json.loads(every.out)["models"]) == 5
    assert ebyd(*options, "--since", "soon", cwd=folder).code == 2


def test_a_changed_model_is_told(ebyd: Ebyd, folder: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(MODELS / "digits-clean.safetensors", models / "a.safetensors")
    options = ["audit", "models", "--policy", folder / "static.yaml", "--samples", MODELS / "digits-samples.npz", "-q"]
    options += ["--architecture", "ebyd_scan.fixtures.networks:plain_convnet"]
    assert ebyd(*options, cwd=tmp_path).code == 0
    (models / "a.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{not json")
    shutil.copy(MODELS / "digits-clean.safetensors", models / "b.safetensors")
    assert ebyd(*options, cwd=tmp_path).code == 3
    run = ebyd("audit", "compare", "last~1", "--json", "-", cwd=tmp_path)
    assert run.code == 1 and json.loads(run.out)["changed"]
    assert "a.safetensors" in run.err and "b.safetensors" in run.err


def terminated(process: subprocess.Popen[str], store: Path) -> str:
    """SIGTERM once a model has been exposed; what the audit said on standard error until it ended in order."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        if store.exists():
            with sqlite3.connect(store) as db:
                try:
                    if db.execute("SELECT count(*) FROM exposures").fetchone()[0]:
                        break
                except sqlite3.Error:
                    pass
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=90)
    assert process.returncode in (1, 3) and "Traceback" not in err
    return err


def test_a_terminated_audit_reports_and_goes_on(
    ebyd: Ebyd, start: Callable[..., subprocess.Popen[str]], folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "s.sqlite"
    options = ["audit", "models", "--rules", "rules.yaml", "--store", store, "--workers", "1"]
    process = start(*options, "--junit", tmp_path / "a.xml", cwd=folder)
    err = terminated(process, store)
    assert "run the same command again" in err
    assert junitparser.JUnitXml.fromfile(str(tmp_path / "a.xml"))
    with sqlite3.connect(store) as db:
        before = db.execute("SELECT number, key, name, body FROM findings").fetchall()
    run = ebyd(*options, cwd=folder)
    assert run.code == 1 and "goes on" in run.err
    with sqlite3.connect(store) as db:
        after = db.execute("SELECT number, key, name, body FROM findings").fetchall()
        assert db.execute("SELECT count(*), count(ended) FROM audits").fetchone() == (1, 1)
    assert set(before) <= set(after) and len({row[1:3] for row in after}) == len(after)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nowhere"], "no such file or folder"),
        (["empty"], "holds no models"),
        (["models", "--policy", "nothing"], "nothing"),
        (["models", "--samples", "gone.npz"], "gone.npz: there is no such file"),
        (["models", "--store", "models/bad.safetensors"], "overwritten"),
        (["models", "--junit", "models/bad.safetensors"], "overwritten"),
        (["models", "--html", "foreign"], "not an earlier report"),
        (["models", "--html", "-"], "does not go to a stream"),
        (["models", "--csv", "-", "--json", "-"], "standard output"),
        (["models", "--ray-address", "x:1", "--executor", "processes"], "goes with --executor ray"),
        (["models", "--rules", "nothing.yaml"], "nothing.yaml"),
        (["models/bad.safetensors"], "neither a folder nor a manifest"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_done(
    ebyd: Ebyd, folder: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    for name in ("models", "policy.yaml"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "index.html").write_text("mine")
    run = ebyd("audit", *options, cwd=tmp_path)
    assert run.code == 2 and words in run.text
    assert (tmp_path / "foreign" / "index.html").read_text() == "mine"
    assert not (tmp_path / "ebyd-audit.sqlite").exists()


def test_a_file_that_is_no_store_is_left_alone(ebyd: Ebyd, folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("my notes\n" * 100)
    run = ebyd("audit", "models", "--rules", "rules.yaml", "--store", mine, cwd=folder)
    assert run.code == 3 and "cannot be used" in run.text
    assert mine.read_text() == "my notes\n" * 100


def test_two_audits_at_once_share_the_work(
    start: Callable[..., subprocess.Popen[str]], folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "s.sqlite"
    options = ["audit", "models", "--rules", "rules.yaml", "--store", store, "--workers", "1", "--json", "-", "-q"]
    both = [start(*options, cwd=folder) for _ in range(2)]
    said = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [1, 1], said
    models = [json.loads(out)["models"] for out, _ in said]
    verdicts = [{model["name"]: model["result"]["verdict"] for model in one} for one in models]
    assert verdicts[0] == verdicts[1]
    with sqlite3.connect(store) as db:
        assert db.execute("SELECT count(*), count(ended) FROM audits").fetchone() == (2, 2)
        assert db.execute("SELECT count(*) FROM claims").fetchone() == (0,)
        searched = db.execute("SELECT count(*) FROM findings WHERE name = 'model-detection'").fetchone()
    assert searched == (2,)


def test_the_folder_itself_can_be_audited_twice(ebyd: Ebyd, folder: Path, tmp_path: Path) -> None:
    shutil.copy(MODELS / "digits-clean.safetensors", tmp_path / "a.safetensors")
    options = ["audit", ".", "--policy", folder / "static.yaml", "--samples", MODELS / "digits-samples.npz", "-q"]
    options += ["--architecture", "ebyd_scan.fixtures.networks:plain_convnet", "--csv", "audit.csv", "--html", "report"]
    for _ in range(2):
        run = ebyd(*options, cwd=tmp_path)
        assert run.code == 0, run.text
    assert len(list(csv.DictReader((tmp_path / "audit.csv").open(newline="")))) == 1


def test_ray_ends_in_order_too(start: Callable[..., subprocess.Popen[str]], folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    store = tmp_path / "s.sqlite"
    options = ["audit", "models", "--rules", "rules.yaml", "--store", store, "--executor", "ray", "--workers", "1"]
    process = start(*options, "--junit", tmp_path / "a.xml", cwd=folder)
    err = terminated(process, store)
    assert "run the same command again" in err and (tmp_path / "a.xml").exists()
