"""The holes that the corpus and the fuzzing have found, one by one: each was open before."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from ebyd_scan.benchmarks.hostile.assemble import entry, named, stream, system, tarred, tensor_file, value
from ebyd_scan.checks.file_walk import offences
from ebyd_scan.checks.pickle_walk import walk_pickle
from ebyd_scan.checks.tar_layout import SmallReads, is_tar
from ebyd_scan.checks.torchscript_code import code_problems
from ebyd_scan.checks.zip_layout import Limits, directory_problem
from ebyd_scan.evidence.errors import ScanError, UsageError
from ebyd_scan.policies.load import load_policy
from ebyd_scan.scanner.inspection import inspect_file


def test_opcodes_are_counted_over_all_pickles() -> None:
    report = walk_pickle(io.BytesIO(stream(b"N0" * 500 + b"N")), 1 << 20, 100)
    assert report.exhausted and not report.complete and report.steps == 100


def test_an_attribute_of_a_class_is_told() -> None:
    body = named("argparse", "Namespace") + b"(N(" + value("a") + value("b") + b"dtb"
    assert walk_pickle(io.BytesIO(stream(body)), 1 << 20).changed == [("argparse", "Namespace")]
    instance = named("argparse", "Namespace") + b")\x81}" + b"b"
    assert walk_pickle(io.BytesIO(stream(instance)), 1 << 20).changed == []


@pytest.mark.parametrize(
    ("source", "problems"),
    [
        (b"torch.add(x, y)\nops.aten.relu(x)\n__torch__.torch.nn.Linear\n", 0),
        (b'ops.prim.RaiseException("torch is not here, .save(")\n', 0),
        (b'getattr(self, "0").forward(x)\n', 0),
        (b"torch . from_file (a)", 1),
        (b"torch.\\\n save(a)", 2),
        (b"a = torch\ngetattr(a, b)", 1),
        (b"getattr(ops.aten, b)", 1),
        (b"ops.image.read_file(a)", 2),
    ],
)
def test_torchscript_by_other_spellings(source: bytes, problems: int) -> None:
    assert len(code_problems(source)) == problems


def test_tar_without_magic_and_reads_of_absurd_size() -> None:
    data = bytearray(tarred({"a": b"x"}))
    data[257:265] = bytes(8)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    assert is_tar(bytes(data[:512]))
    assert not is_tar(bytes(512)) and not is_tar(b"\x80\x02" * 256)
    with pytest.raises(ValueError, match="absurd"):
        SmallReads(io.BytesIO()).read(1 << 30)


def test_a_directory_is_measured_before_it_is_read() -> None:
    end = b"PK\x05\x06" + bytes(8) + struct.pack("<IIH", 300_000, 0, 0)
    small = Limits(max_members=1000)
    assert "directory has 300,000 bytes" in str(directory_problem(io.BytesIO(bytes(300_000) + end), small))
    assert directory_problem(io.BytesIO(bytes(300_000) + end), Limits()) is None


@pytest.mark.parametrize("text", ['a: "\\UFFFFFFFF"', "%YAML 1." + "9" * 5000 + "\n---\na: 1\n"])
def test_policies_that_made_the_reader_break(text: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="is not valid YAML"):
        load_policy(str(path))


def _folder(folder: Path) -> Path:
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model.safetensors").write_bytes(tensor_file({"a": entry(0, 8, (2,))}))
    return folder


def test_settings_of_the_trainer_pass_and_only_there(tmp_path: Path) -> None:
    settings = stream(named("transformers.training_args", "TrainingArguments") + b")\x81}b")
    folder = _folder(tmp_path)
    (folder / "training_args.bin").write_bytes(settings)
    assert inspect_file(folder).verdict.exit_code == 0
    (folder / "optimizer.pt").write_bytes(settings)
    assert inspect_file(folder).verdict.exit_code == 1


def test_pickles_in_folders_of_the_folder(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "1_Dense").mkdir()
    (folder / "1_Dense" / "pytorch_model.bin").write_bytes(system("true"))
    inspected = inspect_file(folder)
    assert inspected.verdict.exit_code == 1
    assert '"1_Dense/pytorch_model.bin"' in inspected.findings[0].message


def test_a_million_dimensions_are_not_multiplied(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(tensor_file({"a": entry(0, 8, (1 << 62,) * 50_000)}))
    assert "50,000 dimensions" in offences(path, "safetensors")[1][0]


def test_an_archive_behind_weights(tmp_path: Path) -> None:
    from ebyd_scan.benchmarks.hostile.assemble import zipped

    body = zipped({"a": b"x"})
    path = tmp_path / "model.safetensors"
    path.write_bytes(tensor_file({"a": entry(0, len(body), (len(body),), "U8")}, body))
    assert "appended" in offences(path, "safetensors")[1][0]
    body = bytes(40) + b"PK\x05\x06" + bytes(4)  # four bytes of a weight
    path.write_bytes(tensor_file({"a": entry(0, len(body), (len(body),), "U8")}, body))
    assert offences(path, "safetensors")[1] == []


def test_sample_folders(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    pytest.importorskip("PIL")
    from ebyd_scan.scanner.samples.class_folders import class_indices
    from ebyd_scan.scanner.samples.folder import FolderSource

    deep = tmp_path / "samples" / "cat"
    for _ in range(60):
        deep /= "a"
    deep.mkdir(parents=True)
    with pytest.raises(ScanError, match="folders deep"):
        FolderSource(tmp_path / "samples", classes_file=None, size=None, channels=None)
    classes = tmp_path / "classes.txt"
    classes.write_text("".join(f"c{index} {index}\n" for index in range(100_000)))
    assert class_indices(tmp_path, ["c7"], classes)[0] == {"c7": 7}  # without comparing each with all
    classes.write_text("".join(f"c{index}\n" for index in range(1_000_000)))
    with pytest.raises(ScanError, match="more than the 100000 classes"):
        class_indices(tmp_path, ["c7"], classes)
