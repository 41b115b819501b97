"""Every classifier of torchvision, and some of timm, through the scanner: built, exposed, scanned, exported, read back.

    python -m ebyd_scan.benchmarks.torchvision_zoo --out work/torchvision
    python -m ebyd_scan.benchmarks.torchvision_zoo --out work/torchvision --timm
    python -m ebyd_scan.benchmarks.torchvision_zoo --out work/torchvision --markdown docs/torchvision.md

Weights are random and samples noise: what is asked is whether each step runs, not what it finds. Pictures are as small
as the architecture takes them. Each model has a process of its own, watched for its memory, and a JSON record in
`--out`: a run that was stopped goes on, and a record that is deleted is made again.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import psutil

from .torchvision_model import CLASSES, Record, parts_of, work, write_record
from .torchvision_table import document

# By the start of the name, the longest that fits: arguments and side of the pictures. 32 where nothing is said.
SETTINGS: dict[str, tuple[dict[str, Any], int]] = {
    "alexnet": ({}, 64),
    "inception_v3": ({}, 75),
    "maxvit_t": ({}, 224),  # four stages, and each one's map has to be a multiple of its window of 7
    "vit_": ({"image_size": 32}, 32),
    "vit_b_32": ({"image_size": 64}, 64),
    "vit_l_32": ({"image_size": 64}, 64),
    "vit_h_14": ({"image_size": 28}, 28),
}
TIMM: dict[str, tuple[dict[str, Any], int]] = {
    "resnet18": ({}, 32),
    "efficientnet_b0": ({}, 32),
    "mobilenetv3_small_050": ({}, 32),
    "regnetx_002": ({}, 32),
    "convnext_atto": ({}, 32),
    "vit_tiny_patch16_224": ({"img_size": 32}, 32),
    "deit_tiny_distilled_patch16_224": ({"img_size": 32}, 32),
    "swin_tiny_patch4_window7_224": ({"img_size": 56}, 56),
    "mixer_s32_224": ({"img_size": 64}, 64),
    "poolformer_s12": ({}, 32),
    "levit_128s": ({}, 224),
}


PRELOAD = (work.__module__, "torch.onnx", "onnxruntime", "ebyd_scan.scanner.models.onnx_file")


def names_of(timm: bool) -> list[str]:
    """What there is to do, the models with the fewest parameters first."""
    if timm:
        return list(TIMM)
    from ..scanner.torchvision_compat import import_torchvision

    import_torchvision()
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    sizes = {name: models.get_model_weights(name).DEFAULT.meta["num_params"] for name in names}
    return sorted(names, key=lambda name: (sizes[name], name))


def begin(name: str, timm: bool) -> Record:
    """The record of a model that nothing has been done with."""
    table = TIMM if timm else SETTINGS
    known = max((key for key in table if name.startswith(key)), key=len, default="")
    arguments, size = table.get(name if timm else known, ({}, 32))
    spec = f"{'timm' if timm else 'torchvision'}:{name}"
    return {"name": name, "spec": spec, "arch_args": {"num_classes": CLASSES, **arguments}, "size": size}


def run_one(path: Path, folder: Path, limit: float) -> None:
    """Work on a record in a process that is ended when it and its children hold more than `limit` GiB."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    worker = context.Process(target=work, args=(path, folder))
    worker.start()
    assert worker.pid is not None
    peak, why = 0.0, ""
    while worker.is_alive() and not why:
        members: list[psutil.Process] = []
        used = 0.0
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(worker.pid)
            members = [root, *root.children(recursive=True)]
            used = sum(member.memory_info().rss for member in members) / 2**30
        peak = max(peak, used)
        if used > limit:
            why = f"ended at {used:.1f} GiB of memory"
            for member in reversed(members):
                with contextlib.suppress(psutil.Error):
                    member.kill()
        worker.join(0.25)
    worker.join()
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    record["peak_gib"] = max(peak, record.get("peak_gib", 0.0))
    if stage := record.pop("at", None):
        record[stage] = {"error": why or f"the process ended with {worker.exitcode}"}
    for part in parts_of(record["new_exporter"]):
        record.setdefault(part, {"error": "not reached"})
    write_record(record, path)


@click.command()
@click.option("--only", multiple=True, metavar="NAME", help="These models; may be repeated.  [default: all]")
@click.option("--timm", "of_timm", is_flag=True, help="Models of timm instead of torchvision's.")
@click.option("--new-exporter", is_flag=True, help="Export with torch's new exporter as well.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("work/torchvision"), show_default=True)
@click.option("--limit", default=10.0, show_default=True, help="GiB that a model and its scan may hold.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the page from the records, and run nothing.")
def main(
    only: tuple[str, ...], of_timm: bool, new_exporter: bool, out: Path, limit: float, markdown: Path | None
) -> None:
    """Make the records that are missing, a line each."""
    if markdown:
        markdown.write_text(document(out, {"torchvision": names_of(False), "timm": names_of(True)}), encoding="utf-8")
        return
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", HF_HUB_OFFLINE="1")  # for all that is started here
    out.mkdir(parents=True, exist_ok=True)
    names = names_of(of_timm)
    if unknown := [name for name in only if name not in names]:
        raise click.UsageError(f"--only {unknown[0]} is none of {', '.join(names)}")
    for name in only or names:
        path = out / f"{'timm' if of_timm else 'torchvision'}-{name}.json"
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else begin(name, of_timm)
        record.pop("at", None)  # it was stopped there
        if all(part in record for part in parts_of(new_exporter)):
            continue
        record["new_exporter"] = new_exporter
        write_record(record, path)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="zoo-") as folder:  # here, for a process that is ended leaves its files
            run_one(path, Path(folder), limit)
        record = json.loads(path.read_text(encoding="utf-8"))
        broken = [f"{part}: {record[part]['error']}" for part in parts_of(new_exporter) if "error" in record[part]]
        broken += record["scan"].get("errors", [])
        click.echo(f"{name} {time.perf_counter() - started:.0f} s {'; '.join(broken)}")


if __name__ == "__main__":
    main()
