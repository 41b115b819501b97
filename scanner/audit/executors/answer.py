"""Answers one task: supervises the worker and says what it says."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...events import Event
from ...forked import Zygote
from ...heard import Heard
from ...request import ScanRequest
from ...supervisor import Stop, listen
from .interface import Ended


def answer(
    request: ScanRequest, say: Callable[[Event], None], *, zygote: Zygote, stop: Stop, verbose: bool = False
) -> Ended:
    """Have the request answered; every event but progress is said when it is made."""
    started = time.monotonic()
    heard = Heard.nothing(request)
    launch = zygote.launcher(request.part.tier if request.part else None)
    try:
        listen(request, heard, verbose=verbose, stop=stop, on_event=say, launch=launch)
    except Exception as problem:  # no process can be had, or it was gone before it was seen; the others go on
        heard.error, heard.again, heard.lost = f"{request.model}: no process could do it ({problem})", True, True
    seconds = time.monotonic() - started
    return Ended(heard.error, heard.again, heard.lost, heard.stopped, heard.timings, seconds)
