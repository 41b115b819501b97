"""`ebyd-scan policy`: what the policies say, and whether a file is one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import IO, Any, ParamSpec, TypeVar

import click

from ...evidence.errors import ScanError

P = ParamSpec("P")
R = TypeVar("R")


class PolicyError(click.ClickException):
    """A wrong policy or name: exit code 2, and the text as it is, so that editors find FILE:LINE:COLUMN in it."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.format_message(), file=file or sys.stderr)


def _told(command: Callable[P, R]) -> Callable[P, R]:
    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ScanError as error:
            raise PolicyError(str(error)) from error

    return run


@click.group("policy", context_settings={"help_option_names": ["-h", "--help"]})
def policy() -> None:
    """List, show and validate policies.

    A policy says which checks a scan runs, with which thresholds, and what an inconclusive result means.

    \b
    Examples:
      ebyd-scan policy list
      ebyd-scan policy show release-gate > our-gate.yaml
      ebyd-scan policy validate our-gate.yaml
      ebyd-scan scan model.pt --samples samples/ --policy our-gate.yaml
    """


@policy.command("list")
@_told
def list_policies() -> None:
    """List the built-in policies and what they are for.

    On a terminal a table; into a pipe one policy a line, name and description apart by a tab.

    \b
    Example:
      ebyd-scan policy list | cut -f1
    """
    from ...policies.load import built_in_names, load_policy

    rows = [(name, load_policy(name).policy.description) for name in built_in_names()]
    if not sys.stdout.isatty():
        for name, description in rows:
            click.echo(f"{name}\t{description}")
        return
    import shutil
    import textwrap

    from .run import color

    width = max(len(name) for name, _ in rows) + 2
    for name, description in rows:
        lines = textwrap.wrap(description, max(20, shutil.get_terminal_size().columns - width))
        padded = name.ljust(width)
        click.echo((click.style(padded, bold=True) if color(err=False) else padded) + f"\n{' ' * width}".join(lines))


@policy.command("show", short_help="Print a built-in policy as YAML.")
@click.argument("name")
@_told
def show(name: str) -> None:
    """Print the built-in policy NAME as YAML, with a comment on each line.

    The output is a valid policy file: a good start for one of your own.

    \b
    Example:
      ebyd-scan policy show quick > our-policy.yaml
    """
    from ...policies.load import built_in_text

    click.echo(built_in_text(name), nl=False)


@policy.command("validate")
@click.argument("file")
@_told
def validate(file: str) -> None:
    """Check that FILE is a valid policy.

    Prints `FILE: valid` and exits with 0; or tells every mistake on standard error, one a line with its line and
    column, and exits with 2.

    \b
    Examples:
      ebyd-scan policy validate our-gate.yaml
      git ls-files 'policies/*.yaml' | xargs -n1 ebyd-scan policy validate
    """
    from ...policies.load import load_policy

    load_policy(file)
    click.echo(f"{file}: valid")


@policy.command("schema", short_help="Print the JSON Schema of policy files.")
@_told
def schema() -> None:
    """Print the JSON Schema of policy files, with the options of all installed checks.

    \b
    Example (completion in editors that use yaml-language-server):
      ebyd-scan policy schema > policy.schema.json
      # and as the first line of a policy: # yaml-language-server: $schema=policy.schema.json
    """
    from ...policies.schema import policy_schema, schema_text

    click.echo(schema_text(policy_schema()), nl=False)
