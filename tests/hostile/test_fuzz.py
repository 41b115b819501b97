"""Readers of untrusted bytes under changed and random input: an answer or a documented error, nothing else."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hypothesis")
from ebyd_scan.checks.file_walk import offences
from ebyd_scan.checks.pickle_globals import objection
from ebyd_scan.checks.pickle_walk import walk_pickle
from ebyd_scan.checks.safetensors_header import header_problems
from ebyd_scan.checks.torchscript_code import code_problems
from ebyd_scan.evidence.errors import ScanError, UsageError
from ebyd_scan.policies.load import load_policy
from ebyd_scan.scanner.events import PARSER
from ebyd_scan.scanner.handover import ArrayForm, Handed, RecoveredForm
from ebyd_scan.scanner.inspection import inspect_file
from ebyd_scan.scanner.models.identify import identify
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from .fuzzing import FILES, FUZZ, PICKLES, TENSORS, bytes_like, only, text_like, written

ERRORS = (ScanError, UsageError)
POLICY = "version: 1\nname: gate\nchecks:\n  file-safety: {max_ratio: 50.0}\n  sample-fit:\non_inconclusive: fail\n"
EVENTS = [
    b'{"kind": "progress", "stage": "exposure", "done": 1, "total": 2}',
    b'{"kind": "finding", "finding": {"check": "a", "outcome": "passed", "message": "b", "score": 1.5}}',
    b'{"kind": "error", "message": "a", "usage": false}',
    b'{"kind": "timing", "stage": "a", "seconds": 1e300}',
    b'{"kind": "piece", "data": "AAAA"}',
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@FUZZ
@given(bytes_like(*PICKLES))
def test_pickles(data: bytes) -> None:
    report = walk_pickle(io.BytesIO(data), len(data))
    assert report.complete != bool(report.error)
    assert report.length <= len(data)
    for module, name in report.globals:
        objection(module, name, allow_pickle=True, trusted_modules=("a",))


@FUZZ
@given(bytes_like(TENSORS))
def test_safetensors_headers(data: bytes) -> None:
    assert all(isinstance(text, str) for text in header_problems(io.BytesIO(data)))


@FUZZ
@given(data=bytes_like(*FILES), suffix=st.sampled_from([".pt", ".bin", ".safetensors", ".onnx", ".pt2", ".tar", ""]))
def test_model_files(data: bytes, suffix: str, place: Path) -> None:
    inspected = inspect_file(written(place, f"model{suffix}", data))
    assert inspected.verdict.exit_code in (0, 1, 3, 4)
    assert "could not be inspected" not in (inspected.error or ""), inspected.error


@FUZZ
@given(data=bytes_like(*FILES))
def test_identification(data: bytes, place: Path) -> None:
    path = written(place, "given.pt", data)
    artifact = only(ERRORS, lambda: identify(path))
    if artifact is not None:
        offences(path, artifact.format)  # type: ignore[attr-defined]


@FUZZ
@given(text_like("torch.add(x, y)\n", 'ops.aten.relu("a")\n', 'getattr(torch, "save")("a")\n', "# comment '\n"))
def test_torchscript_code(data: bytes) -> None:
    assert isinstance(code_problems(data), list)


@FUZZ
@given(data=text_like(POLICY, "checks:\n", "  a: &x [1, 2]\n", "!!python/object:os.system x\n", "? [a]\n: b\n"))
def test_policies(data: bytes, place: Path) -> None:
    only((UsageError,), lambda: load_policy(str(written(place, "policy.yaml", data))))


@FUZZ
@given(bytes_like(*EVENTS))
def test_events_of_a_worker(data: bytes) -> None:
    only((ValidationError,), lambda: PARSER.validate_json(data))


@FUZZ
@given(st.text(max_size=40), st.integers(1, 6))
def test_pieces_of_a_trigger(text: str, side: int) -> None:
    sample, label = ArrayForm(dtype="uint8", shape=(1, side, side, 1)), ArrayForm(dtype="int64", shape=(1,))
    labels = ("true_labels", "predicted_before", "predicted_after")
    form = RecoveredForm(
        family="patch", label=0, label_name="a", attack_success_rate=1, samples=1, size=1, class_names={},
        arrays={"before": sample, "after": sample} | dict.fromkeys(labels, label), parts={},
    )  # fmt: skip
    handed = Handed(form)
    only((ValueError,), lambda: handed.add(text))
    assert handed.missing >= 0


# Samples

TABLES = {
    ".csv": ("text,label\na good film,1\n", '"a ""quoted"" one",0\n', "text;label\n"),
    ".tsv": ("sentence\tlabel\na good film\t1\n", "bad\t0\n"),
    ".jsonl": ('{"text": "good", "label": 1}\n', '{"text": "bad", "label": "neg"}\n', "[[[[" * 50),
}


@pytest.mark.parametrize("suffix", TABLES)
def test_tables(suffix: str, place: Path) -> None:
    pytest.importorskip("numpy")
    from ebyd_scan.scanner.samples.text_columns import known_names
    from ebyd_scan.scanner.samples.text_delimited import DelimitedRows
    from ebyd_scan.scanner.samples.text_json_lines import JsonLinesRows
    from ebyd_scan.scanner.samples.text_rows import Given

    reader = JsonLinesRows if suffix == ".jsonl" else DelimitedRows
    path = place / f"samples{suffix}"

    @FUZZ
    @given(text_like(*TABLES[suffix]))
    def run(data: bytes) -> None:
        def read() -> None:
            rows = reader(path, data, Given())
            known_names(list(rows.columns), Given())
            for _ in rows.read(tuple(range(min(2, len(rows.columns))))):
                pass

        only(ERRORS, read)

    run()


@FUZZ
@given(data=text_like("cat\ndog\n", "cat 0\ndog 1\n", "cat,99999999999\n", "1\n"))
def test_class_files(data: bytes, place: Path) -> None:
    pytest.importorskip("numpy")
    from ebyd_scan.scanner.samples.class_folders import class_indices

    path = written(place, "classes.txt", data)
    only(ERRORS, lambda: class_indices(place, ["cat", "dog"], path))


def _npz() -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros((2, 3, 3), np.uint8), y=np.array([0, 1]), classes=np.array(["a", "b"]))
    return buffer.getvalue()


def _unpacked(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def test_npz_files(place: Path) -> None:
    np = pytest.importorskip("numpy")
    pytest.importorskip("torch")
    from ebyd_scan.benchmarks.hostile.assemble import zipped
    from ebyd_scan.scanner.samples.npz import NpzSource

    whole = _npz()
    members = dict(_unpacked(whole))

    @FUZZ
    @given(
        bytes_like(whole),
        st.sampled_from(sorted(members)).flatmap(lambda name: st.tuples(st.just(name), bytes_like(members[name]))),
        st.booleans(),
    )
    def run(data: bytes, change: tuple[str, bytes], inside: bool) -> None:
        path = written(place, "samples.npz", zipped(members | dict([change])) if inside else data)
        only(ERRORS, lambda: NpzSource(path, size=None, channels=None).read(np.array([0])))

    run()


def test_images() -> None:
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("numpy")
    from ebyd_scan.scanner.samples.image import UnreadableImage, decode

    seeds = []
    for kind in ("PNG", "GIF", "JPEG", "BMP", "TIFF", "PPM", "TGA"):
        buffer = io.BytesIO()
        image.new("RGB", (5, 4), (200, 30, 60)).save(buffer, kind)
        seeds.append(buffer.getvalue())

    @FUZZ
    @given(bytes_like(*seeds))
    def run(data: bytes) -> None:
        only((UnreadableImage,), lambda: decode(data, None, (3, 3)))

    run()
