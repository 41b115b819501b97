"""`ebyd-scan verify-report`: is what a report names still what was scanned, and was the report edited?"""

from __future__ import annotations

from pathlib import Path

import click

from ...evidence.errors import ScanError
from ..reports.verification import to_verification_json, to_verification_text
from ..reports.write import check_writable, write_atomically
from ..verification import verify
from .options import PolicyType
from .run import Failure, as_failure, color, echo, is_stdout, terminal_width

EXAMPLES = """\b
Examples:
  ebyd-scan verify-report report.json
  ebyd-scan verify-report model.statement.json --model /srv/models/model.safetensors
  ebyd-scan verify-report report.json --policy our-gate.yaml -q --json - | jq .items

\b
Exit codes: 0 all is as it was, 1 something changed or is missing, 2 usage or policy file wrong,
            3 the report or something that it names cannot be read,
            4 nothing changed, but not all could be checked.
"""


@click.command("verify-report", epilog=EXAMPLES)
@click.argument("report", type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(path_type=Path), metavar="PATH", help="The model.  [default: the report's]")
@click.option(
    "--base-model", type=click.Path(path_type=Path), metavar="FOLDER", help="Of an adapter: the folder of its model."
)
@click.option("--samples", type=click.Path(path_type=Path), metavar="PATH", help="The samples.  [default: likewise]")
@click.option(
    "--classes", "classes_file", type=click.Path(path_type=Path), metavar="FILE", help="What the scan got as --classes."
)
@click.option(
    "--policy", type=PolicyType(), metavar="NAME|FILE", help="The policy.  [default: the shipped one of that name]"
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what was found as JSON; `-` is standard output.",
)
@click.option("-q", "--quiet", is_flag=True, help="Nothing where all is as it was.")
def verify_report(
    report: Path,
    model: Path | None,
    base_model: Path | None,
    samples: Path | None,
    classes_file: Path | None,
    policy: str | None,
    json_path: Path | None,
    quiet: bool,
) -> None:
    """Compute the digests that REPORT names anew and say what has changed.

    REPORT is a JSON report or an in-toto statement of `ebyd-scan scan`. Its paths are taken from the current folder.
    It is checked that it is valid, that it does not contradict itself, that model, samples and policy have the digests
    that it names, and that its verdict is what the policy gives for its findings. Nothing is loaded or executed.
    """
    to_stderr = json_path is not None and is_stdout(json_path)
    try:
        if json_path is not None and not to_stderr:
            given = (report, model, samples, base_model, classes_file, Path(policy) if policy else None)
            check_writable({"--json": json_path}, inputs=[path for path in given if path])
        found = verify(
            report,
            model=model,
            base_model=base_model,
            samples=samples,
            classes_file=classes_file,
            policy=policy,
        )
        if json_path is not None and not to_stderr:  # nor over what the report names
            named = [Path(item.path) for item in found.items if item.path and item.what in ("model", "samples")]
            check_writable({"--json": json_path}, inputs=named)
    except ScanError as problem:
        raise as_failure(problem) from problem
    if not quiet or found.exit_code:
        width = max(60, min(120, terminal_width()))
        echo(to_verification_text(found, color=color(to_stderr), width=width), err=to_stderr)
    try:
        if to_stderr:
            echo(to_verification_json(found))
        elif json_path is not None:
            write_atomically(json_path, to_verification_json(found))
    except ScanError as problem:
        raise Failure(str(problem), 3) from problem
    raise SystemExit(found.exit_code)
