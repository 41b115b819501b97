"""`ebyd-scan`: the command group. Imports click only; each command is imported when it is called."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

# name -> (module:attribute, one-line help); the line stands here so that --help imports nothing.
COMMANDS = {
    "scan": ("ebyd_scan.scanner.cli.scan:scan", "Scan a model file for backdoors and give a verdict."),
    "inspect": (
        "ebyd_scan.scanner.cli.inspect:inspect",
        "Say what files are and whether they hold anything but weights.",
    ),
    "remove": (
        "ebyd_scan.scanner.cli.remove:remove",
        "Remove the backdoor that a scan finds, and write the repaired model.",
    ),
    "audit": ("ebyd_scan.scanner.cli.audit:audit", "Scan many models, resumably, by many workers; show and compare."),
    "selftest": (
        "ebyd_scan.scanner.cli.selftest:selftest",
        "Plant known backdoors in copies of a model and say which a scan catches.",
    ),
    "policy": ("ebyd_scan.scanner.cli.policy:policy", "List, show and validate policies."),
    "init": ("ebyd_scan.scanner.cli.init:init", "Write ebyd-scan.yaml, the models of a project and how to scan them."),
    "project": ("ebyd_scan.scanner.cli.project:project", "Check a project file, print its JSON Schema."),
    "verify-report": (
        "ebyd_scan.scanner.cli.verify_report:verify_report",
        "Say whether what a report names has changed, and whether it was edited.",
    ),
    "completion": (
        "ebyd_scan.scanner.cli.completion:completion",
        "Print the script that completes commands in a shell.",
    ),
    "demo": ("ebyd_scan.scanner.cli.demo:demo", "Scan a shipped backdoored and a shipped clean model."),
}


INTERRUPTED = 130  # 128 + SIGINT, as shells count
NOT_SCANNED = 3


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """As click's, but an interrupt or a bug of ours never leaves with 1, which means that a model failed."""
        if not standalone_mode:
            return super().main(*args, **extra, standalone_mode=False)  # type: ignore[call-overload]
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # class names in a terminal that cannot show them
        try:
            code = super().main(*args, **extra, standalone_mode=False)  # type: ignore[call-overload]
        except click.ClickException as problem:
            with contextlib.suppress(OSError):  # nobody may be listening; the exit code is told all the same
                problem.show()
            raise SystemExit(problem.exit_code) from None
        except click.Abort:
            _complain("interrupted, and nothing has been decided")
            raise SystemExit(INTERRUPTED) from None
        except Exception as problem:
            import traceback

            frames = traceback.extract_tb(problem.__traceback__)
            text = (str(problem).strip().splitlines() or [""])[0]
            _complain(f"this is a bug: {type(problem).__name__}: {text} ({frames[-1].filename}:{frames[-1].lineno})")
            raise SystemExit(NOT_SCANNED) from None
        raise SystemExit(code if isinstance(code, int) else 0)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as problem:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"the commands are {', '.join(COMMANDS)}."
            raise click.UsageError(f"No such command '{args[0]}': {hint}", ctx) from problem

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands by their table, since importing each takes longer than a person waits for a Tab."""
        named = [CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _complain(sentence: str) -> None:
    with contextlib.suppress(OSError):
        click.echo(f"ebyd-scan: {sentence}", err=True)


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"ebyd-scan {version('ebyd-scan')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 passed, 1 failed the policy, 2 usage or policy file wrong, 3 could not scan, 4 inconclusive.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
def main() -> None:
    """Finds backdoors in PyTorch, ONNX and Hugging Face models: exposes them by unlearning the clean task, then checks
    what is left.

    \b
    ebyd-scan scan model.safetensors --architecture torchvision:resnet18 \\
        --arch-arg num_classes=10 --samples clean/ --policy release-gate
    """
