"""A recovered trigger as files: an `.npz` to replay and measure, a `.png` to look at; words as a `.txt`."""

from __future__ import annotations

import json
import re
import stat
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from ...evidence.errors import ScanError
from ...evidence.result import ScanResult
from .printable import one_line
from .witness_picture import to_png
from .write import write_atomically

if TYPE_CHECKING:
    from ...evidence.finding import Finding
    from ...evidence.recovered import RecoveredTrigger
    from ..handover import Handed

_MARK = "ebyd-scan witness"  # the comment of the .npz, the software that made the .png, the .txt's first line


def write_witness(handed: Handed, result: ScanResult, folder: Path) -> list[Path]:
    """Write `<model>-<label>-<family>.npz` and `.png` into `folder`, which is made if it is missing.

    Only files that this function wrote are ever replaced, each whole or not at all.

    Raises:
        ScanError: a file of that name is somebody else's, or it cannot be written.
    """
    recovered = handed.arrays()
    data, picture = _free(result, folder, recovered.label, recovered.family, (".npz", ".png"))
    write_atomically(data, to_npz(recovered, handed.form.class_names, result))
    write_atomically(picture, to_png(recovered, handed.form.class_names, PurePath(result.model.path).name, _MARK))
    return [data, picture]


def write_words(finding: Finding, result: ScanResult, folder: Path) -> list[Path]:
    """Write the trigger words of a finding as `<model>-<label>-words.txt`; otherwise as `write_witness`."""
    witness = finding.witness
    assert witness is not None
    (path,) = _free(result, folder, witness.label, witness.family, (".txt",))
    lines = [
        f"# {_MARK}: words in front of a text",
        f"# model {one_line(result.model.path)}, SHA-256 {result.model.sha256}",
        f"# label {witness.label} ({one_line(finding.label_name or '')}): {witness.attack_success_rate:.1%} of "
        f"{witness.samples} held-out texts of other classes",
        *(f"# as many words for label {label} reach {share:.1%}" for label, share in witness.control_success.items()),
        one_line(witness.text or ""),
    ]
    write_atomically(path, "\n".join(lines) + "\n")
    return [path]


def _free(result: ScanResult, folder: Path, label: int, family: str, endings: Sequence[str]) -> list[Path]:
    """The paths of a witness's files, in a folder that is there, with nothing of anybody else's at their place."""
    stem = re.sub(r"[^\w.-]", "_", PurePath(result.model.path).stem).lstrip(".") or "model"
    paths = [folder / f"{stem[:150]}-{label}-{family}{ending}" for ending in endings]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            _check_ours(path)
    except OSError as error:
        raise ScanError(f"{folder}: the witness cannot be written: {error.strerror or error}") from error
    return paths


def _check_ours(path: Path) -> None:
    """A name may be free or ours; never a link, which may lead anywhere."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISREG(mode):
        with path.open("rb") as file:
            start = file.read(200)
            file.seek(max(0, path.stat().st_size - len(_MARK)))
            if file.read() == _MARK.encode() or _MARK.encode() in start:
                return
    raise ScanError(f"{path}: is no witness that ebyd-scan wrote and is not overwritten; name another --witness-dir")


def to_npz(recovered: RecoveredTrigger, class_names: dict[int, str], result: ScanResult) -> bytes:
    """All fields as arrays that `numpy.load(file, allow_pickle=False)` reads; `metadata` is JSON in a 0-d string."""
    import numpy as np

    metadata = {
        "tool": result.tool.model_dump(),
        "model": result.model.model_dump(),
        "samples": result.samples.model_dump(),
        "policy": result.policy.model_dump(),
        "seed": result.seed,
        "started": result.started,
        "family": recovered.family,
        "label": recovered.label,
        "label_name": recovered.label_name,
        "class_names": class_names,
    }
    arrays = {
        "metadata": np.array(json.dumps(metadata)),
        "family": np.array(recovered.family),
        "label": np.array(recovered.label),
        "label_name": np.array(recovered.label_name),
        "attack_success_rate": np.array(recovered.attack_success_rate),
        "samples": np.array(recovered.samples),
        "size": np.array(recovered.size),
        "before": recovered.before,
        "after": recovered.after,
        "true_labels": recovered.true_labels,
        "predicted_before": recovered.predicted_before,
        "predicted_after": recovered.predicted_after,
        **{f"part_{name}": part for name, part in recovered.parts.items()},
    }
    file = BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy takes any name but allow_pickle
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = _MARK.encode()
    return file.getvalue()
