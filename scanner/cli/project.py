"""`ebyd-scan project`: whether a project file is one, and what it may say."""

from __future__ import annotations

from pathlib import Path

import click

from ...evidence.errors import ScanError
from ..project.model import PROJECT_FILE
from .policy import PolicyError


@click.group("project", context_settings={"help_option_names": ["-h", "--help"]})
def project() -> None:
    """Check a project file, print its JSON Schema.

    A project file, ebyd-scan.yaml, lists models, each with the options of `ebyd-scan scan`. `ebyd-scan init` writes
    one, `ebyd-scan scan` without a model scans what it lists.
    """


@project.command("validate")
@click.argument("file", type=click.Path(path_type=Path), default=Path(PROJECT_FILE))
def validate(file: Path) -> None:
    """Check that FILE (ebyd-scan.yaml) is a valid project, and so are the policies that it names.

    Prints `FILE: valid` with the names of its models and exits with 0; or tells every mistake on standard error, one a
    line with its line and column, and exits with 2. Models and samples are not looked at.

    \b
    Examples:
      ebyd-scan project validate
      ebyd-scan project validate models/ebyd-scan.yaml
    """
    from ..project.load import load_project
    from .scan_project import order_of

    try:
        entries = load_project(file)
        for entry in entries:
            order_of(entry, {}, file)
    except ScanError as problem:
        raise PolicyError(str(problem)) from problem
    click.echo(f"{file}: valid, {len(entries)} model{'s' * (len(entries) != 1)}")


@project.command("schema", short_help="Print the JSON Schema of project files.")
def schema() -> None:
    """Print the JSON Schema of project files.

    \b
    Example (completion in editors that use yaml-language-server):
      ebyd-scan project schema > project.schema.json
      # and as the first line: # yaml-language-server: $schema=project.schema.json
    """
    from ...policies.schema import schema_text
    from ..project.schema import project_schema

    click.echo(schema_text(project_schema()), nl=False)
