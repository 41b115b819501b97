"""Whether an exception says that memory was short: of the process, of a GPU, or of torch's own allocator."""

from __future__ import annotations


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether more memory may help."""
    text = str(problem)
    return (
        isinstance(problem, MemoryError)
        or type(problem).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in text
        or "Cannot allocate memory" in text
    )
