"""Errors that a person can act on; anything else that escapes is a bug of ours."""

from __future__ import annotations


class ScanError(Exception):
    """The scan cannot be done (exit code 3); the message is one sentence that names the file and the way out."""


class UsageError(ScanError):
    """The command line, the policy or the samples' description is wrong (exit code 2)."""


class MissingExtra(ScanError):
    """An optional dependency is not installed (exit code 3)."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f'{package} is not installed: run `pip install "ebyd-scan[{extra}]"`')
