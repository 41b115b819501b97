"""A complete model gets its name: all of it or nothing, and never over something else. No torch.

What is written goes to a hidden folder beside OUT first. A model's companions (its provenance, ONNX weights) get their
names before the model does, so that a run that is killed leaves the whole model, or none of it under its name. What it
may leave is harmless: the hidden folder, and companions without a model. Those are known by being the same files, by
hard links, as in that hidden folder; the next run to the same OUT removes both.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ....evidence.errors import ScanError
from ....evidence.provenance import Provenance
from ...reports.json_report import as_json
from .out import check_free, left_by, provenance_path, there

LOCK_SECONDS = 30  # waited for others that publish into the same folder


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A free place for what will be `out`, under its name, in a hidden folder beside it; that goes afterwards.

    Raises:
        ScanError: the folder cannot be made.
    """
    folder = out.parent.resolve() / f".ebyd-scan-{secrets.token_hex(8)}.part"
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise ScanError(f"{out} cannot be written: {error.strerror}") from None
    try:
        yield folder / out.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def save_provenance(staging: Path, provenance: Provenance) -> None:
    """Beside the file, or in the folder, that was written to `staging`. Raises ScanError where it cannot be written."""
    place = provenance_path(staging)
    try:
        with place.open("x", encoding="utf-8") as stream:
            stream.write(as_json(provenance.model_dump()))
    except OSError as error:
        raise ScanError(f"{place} cannot be written: {error.strerror}") from None


def publish(staging: Path, out: Path) -> None:
    """Give what lies at `staging`, a place of `staged`, its name `out`; it has to have its provenance by then.

    It is on the disk before it is seen. A reader finds the whole model with its provenance under `out`, or none.

    Raises:
        ScanError: something of that name has come in the meantime, or it cannot be written; then nothing was.
    """
    assert provenance_path(staging).is_file(), "no model without its provenance"
    place = out.parent.resolve() / out.name
    parts = [path for path in sorted(staging.parent.iterdir()) if path != staging]
    moves = [(path, place.with_name(path.name)) for path in parts]
    try:
        _sync_all(staging.parent)
        with _only_one(place.parent) as alone:
            goals = [goal for _, goal in moves]
            check_free(place, goals)
            _remove_orphans([goal for goal in goals if there(goal)], place, alone)
            _name_all(moves, staging, place)
            _sync(place.parent)
    except OSError as error:
        raise ScanError(f"{out} cannot be written: {error.strerror or error}") from None


def _name_all(companions: list[tuple[Path, Path]], model: Path, place: Path) -> None:
    """The companions first, the model last; of a model that does not get its name they are taken away again."""
    done: list[Path] = []
    try:
        for part, goal in companions:
            _name(part, goal)
            done.append(goal)
        _sync(place.parent)
        _name(model, place)
    except BaseException:  # also an interrupt between two lines
        if not (there(place) and (not model.exists() or place.samefile(model))):
            for part, goal in companions:
                if goal in done or (part.exists() and goal.exists() and goal.samefile(part)):
                    goal.unlink(missing_ok=True)
        raise


def _name(part: Path, place: Path) -> None:
    taken = ScanError(f"{place} is there already and is not overwritten: choose another name, or move it away")
    if not part.is_dir():
        try:
            os.link(part, place)  # unlike a rename it never replaces what has come there since
            return
        except FileExistsError:
            raise taken from None
        except OSError:  # a file system without links
            pass
    if there(place):
        raise taken
    part.rename(place)  # a folder replaces nothing but an empty one


@contextmanager
def _only_one(folder: Path) -> Iterator[bool]:
    """Alone among the runs that publish into `folder`; False where the file system has no locks. A kill unlocks."""
    try:
        import fcntl
    except ModuleNotFoundError:  # not on Windows
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        alone, deadline = False, time.monotonic() + LOCK_SECONDS
        while not alone and time.monotonic() < deadline:  # never for ever: somebody may hold it for other reasons
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:
                break
        yield alone
    finally:
        os.close(descriptor)


def _remove_orphans(companions: list[Path], place: Path, alone: bool) -> None:
    """What killed runs have left of `place`, and their hidden folders; nobody else is publishing."""
    stages = {companion: left_by(companion, place) for companion in companions}
    for companion, stage in stages.items():
        if stage is None or not alone:
            raise ScanError(f"{companion} is there already and is not overwritten: move it away")
        companion.unlink()
    for stage in {stage for stage in stages.values() if stage}:
        shutil.rmtree(stage, ignore_errors=True)


def _sync_all(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            _sync(Path(root) / name)
        _sync(Path(root))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
