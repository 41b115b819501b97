"""The policy's answer."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """The policy's answer; the exit code follows it and nothing else."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"

    @property
    def exit_code(self) -> int:
        """0 passed, 1 failed, 3 could not scan, 4 inconclusive."""
        return {"passed": 0, "failed": 1, "error": 3, "inconclusive": 4}[self.value]
