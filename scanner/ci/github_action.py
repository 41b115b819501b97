"""The scan of `action.yml`: the same command line as everywhere, told in the ways of GitHub Actions.

    EBYD_MODEL=model.safetensors EBYD_SAMPLES=clean/ python -P -m ebyd_scan.scanner.ci.github_action

Leaves with the exit code of `ebyd-scan scan`.
"""

from __future__ import annotations

import contextlib
import html
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
from pydantic import ValidationError

from ...evidence.errors import UsageError
from ...evidence.finding import Finding, Outcome
from ...evidence.result import ScanResult, Verdict
from ..reports.printable import one_line
from .inputs import command_line, report_files
from .workflow import Annotation, Kind, add_summary, annotate, output_text, without_commands

NOT_SCANNED = Verdict.ERROR.exit_code
INTERRUPTED = 130
_TOLD = (Outcome.FAILED, Outcome.ERROR, Outcome.INCONCLUSIVE)
_MAX_REPORT = 200_000_000  # bytes
# A worker process inherits the environment: it gets neither what steers the job nor its credentials.
_KEPT_BACK = (
    "ACTIONS_CACHE_URL",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ACTIONS_RESULTS_URL",
    "ACTIONS_RUNTIME_TOKEN",
    "ACTIONS_RUNTIME_URL",
    "GITHUB_ENV",
    "GITHUB_OUTPUT",
    "GITHUB_PATH",
    "GITHUB_STATE",
    "GITHUB_STEP_SUMMARY",
    "GITHUB_TOKEN",
)


@dataclass(frozen=True)
class Scanned:
    """What came of it."""

    exit_code: int
    problem: str | None = None  # a sentence, where there is no result that says why
    result: ScanResult | None = None

    @property
    def verdict(self) -> Verdict:
        """The one that the exit code stands for; whatever is no verdict is an error."""
        return next((one for one in Verdict if one.exit_code == self.exit_code), Verdict.ERROR)


def main(inputs: Mapping[str, str]) -> int:
    """Scan, write outputs, summary and annotations. Returns the exit code of the step."""
    files = report_files(inputs)
    try:
        scanned = _scan(command_line(inputs), files)
    except UsageError as problem:
        scanned = Scanned(2, str(problem))
        print(one_line(f"Error: {problem}"), file=sys.stderr)
    written = {name: str(file) for name, file in files.items() if scanned.exit_code != 2 and file.is_file()}
    outputs = {"verdict": scanned.verdict.value, "exit-code": str(scanned.exit_code)}
    outputs["report-path"] = written.get("json", "")
    outputs |= {f"{name}-path": written.get(name, "") for name in ("junit", "sarif", "markdown", "html")}
    for line in annotate(annotations_of(scanned, inputs)):
        print(line, flush=True)
    try:
        if file := inputs.get("GITHUB_OUTPUT"):
            with Path(file).open("a", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(output_text(outputs))
        if file := inputs.get("GITHUB_STEP_SUMMARY"):
            add_summary(Path(file), _summary(scanned, written.get("markdown")))
    except OSError as problem:
        print(f"ebyd-scan: {problem.filename}: cannot be written: {problem.strerror}", file=sys.stderr)
        return scanned.exit_code or NOT_SCANNED
    return scanned.exit_code


def annotations_of(scanned: Scanned, inputs: Mapping[str, str]) -> list[Annotation]:
    """A finding that speaks against the model each, or what went wrong."""
    file = _in_repository(inputs.get("EBYD_MODEL", "").strip("\r\n"), inputs.get("GITHUB_WORKSPACE"))
    findings = scanned.result.findings if scanned.result else []
    shown = [_annotation(finding, file) for finding in findings if finding.outcome in _TOLD]
    sentence = scanned.problem or (scanned.result.reason if scanned.result else "there is no report")
    if scanned.verdict is Verdict.PASSED:
        return [*shown, Annotation("notice", "ebyd-scan: passed", one_line(sentence), file)]
    if scanned.problem or not shown:
        kind: Kind = "warning" if scanned.verdict is Verdict.INCONCLUSIVE else "error"
        shown = [Annotation(kind, f"ebyd-scan: {scanned.verdict.value}", one_line(sentence), file), *shown]
    return shown


def _annotation(finding: Finding, file: str | None) -> Annotation:
    kind: Kind = "warning" if finding.outcome is Outcome.INCONCLUSIVE else "error"
    return Annotation(kind, one_line(f"ebyd-scan: {finding.check} {finding.outcome}"), one_line(finding.message), file)


def _scan(arguments: list[str], files: Mapping[str, Path]) -> Scanned:
    folder = files["json"].parent
    try:
        outputs = tuple(f"--{name}=" for name in files)
        values = [one if one[:2] != "--" else one.partition("=")[2] for one in arguments if not one.startswith(outputs)]
        given = {Path(value).resolve() for value in values if value}
        if taken := next((file for file in files.values() if file.resolve() in given and file.exists()), None):
            raise UsageError(f"{taken} is an input: give another folder for the reports")
        folder.mkdir(parents=True, exist_ok=True)
        for file in files.values():
            file.unlink(missing_ok=True)  # of a scan before: with exit code 2 none is written
    except (OSError, ValueError) as problem:
        raise UsageError(f"reports: {folder} cannot be used for the reports: {problem}") from problem
    with without_commands(), _environment_kept_back():
        code, problem_said = _run(arguments)
    try:
        result = _read(files["json"])
    except (OSError, ValidationError) as problem:
        if code in (0, 1, 4):
            return Scanned(NOT_SCANNED, f"the report {files['json']} cannot be read: {type(problem).__name__}")
        return Scanned(code, problem_said)
    if code == 0 and result.verdict is not Verdict.PASSED:
        return Scanned(NOT_SCANNED, f"the report says {result.verdict.value} and the exit code passed", result)
    return Scanned(code, problem_said, result)


def _run(arguments: list[str]) -> tuple[int, str | None]:
    """The exit code of `ebyd-scan`, and its sentence if it ended with one."""
    from ..cli.main import main as ebyd_scan

    try:
        ebyd_scan.main(arguments, prog_name="ebyd-scan", standalone_mode=False)
    except SystemExit as end:
        return (end.code if isinstance(end.code, int) else NOT_SCANNED), None
    except click.ClickException as problem:
        problem.show()
        return problem.exit_code, problem.format_message()
    except click.Abort:
        return INTERRUPTED, "the scan was interrupted, and nothing has been decided"
    except Exception as problem:
        said = f"this is a bug of ebyd-scan: {type(problem).__name__}: {problem}"
        print(one_line(said), file=sys.stderr)
        return NOT_SCANNED, said
    return NOT_SCANNED, "nothing was scanned"  # a command that ends by itself has shown a help text or a version


def _read(file: Path) -> ScanResult:
    if file.stat().st_size > _MAX_REPORT:
        raise OSError(f"{file} is larger than a report")
    return ScanResult.model_validate_json(file.read_bytes())


def _summary(scanned: Scanned, markdown: str | None) -> str:
    """The Markdown report; without one, the verdict and why. Text of others is no markup there."""
    if markdown:
        return Path(markdown).read_text(encoding="utf-8") + "\n"
    reason = scanned.problem or (scanned.result.reason if scanned.result else "")
    return f"### ebyd-scan: {scanned.verdict.value}\n\n<pre>{html.escape(one_line(reason))}</pre>\n\n"


def _in_repository(model: str, workspace: str | None) -> str | None:
    """The model's path as GitHub names files; None where it lies elsewhere or has no usable name."""
    try:
        place = Path(model).resolve()
        return place.relative_to(Path(workspace or ".").resolve()).as_posix() if model else None
    except (OSError, ValueError, RuntimeError):
        return None


@contextlib.contextmanager
def _environment_kept_back() -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in _KEPT_BACK if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


if __name__ == "__main__":
    sys.exit(main(dict(os.environ)))
