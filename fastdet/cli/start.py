"""How the process of the command begins and ends: Ctrl-C during the imports, signals, streams that are closed.

It imports nothing but small modules of Python, so that it comes before everything that takes time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

_STOPPED = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "terminated"}


def end_at_ctrl_c() -> None:
    """Until `heeding_signals`: Ctrl-C ends the process at once. An exception inside an import would be a traceback."""
    if _in_main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def _end(number: int, frame: Any) -> NoReturn:
    end_stopped(number)


def end_stopped(number: int) -> NoReturn:
    """Say that nothing was written and end the process, with 128 and the number of the signal as its exit code."""
    word = _STOPPED.get(signal.Signals(number), "stopped")
    with contextlib.suppress(OSError):
        os.write(2, f"fastdet: {word}, nothing written\n".encode())
    os._exit(128 + number)  # at once: a kernel may still run in its thread


@contextlib.contextmanager
def heeding_signals() -> Iterator[list[int]]:
    """Let Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt, so that temporary files are removed.

    Yields the list of the signals that came. A signal that the caller ignores, as ``nohup`` does, or handles, is left.
    """
    came: list[int] = []

    def stop(number: int, frame: Any) -> None:
        came.append(number)
        raise KeyboardInterrupt

    before: dict[int, Any] = {}
    if _in_main_thread():
        number: int
        for number in _STOPPED:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler, _end):
                before[number] = signal.signal(number, stop)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_quietly_at_ctrl_c(code: int) -> None:
    """After the work: Ctrl-C while Python ends changes nothing but the time."""
    if _in_main_thread() and signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(code))


def open_closed_streams() -> bool:
    """Whether there is a stdout. Number 0 to 2 that are closed become /dev/null: no output may get such a number."""
    with contextlib.suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(number)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 it stays open
    return sys.stdout is not None


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
