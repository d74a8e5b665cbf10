"""Signals that ask a process to stop: Ctrl-C (SIGINT), SIGTERM of schedulers, SIGHUP of a terminal that closes.

Where work is to be finished first the signal is noted (``finishing``), elsewhere it is raised where it arrives (``raising``), and
a program ends with 128 + its number (``exiting``): 130, 143 and 129. Outside the main thread nothing is installed, and what the
parent process told to be ignored (``nohup``) stays ignored.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, final

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@final
class Interrupted(KeyboardInterrupt):
    """A signal asked to stop, and was raised where it arrived: Ctrl-C's exception, which knows the signal.

    Args:
        number: Of the signal.
        message: What is kept, in one line.
    """

    def __init__(self, number: int = signal.SIGINT, message: str = "") -> None:
        super().__init__(message)
        self.number = int(number)


@final
class Request:
    """Whether a signal has asked to stop; the handler of the signals, too.

    A second Ctrl-C is raised at once. Repeated SIGTERM and SIGHUP are the same request: ``timeout``, shells and terminals
    send them twice.

    Args:
        raises: Whether the first is raised where it arrives; else it is only noted.
    """

    def __init__(self, *, raises: bool) -> None:
        self.number: int | None = None
        self._raises = raises

    @property
    def asked(self) -> bool:
        """Whether it has."""
        return self.number is not None

    def __call__(self, number: int, frame: Any) -> None:
        """Note the signal, or raise it.

        Raises:
            Interrupted: If it is the first and is to be raised, or a second Ctrl-C.
        """
        first = self.number is None
        if first:
            self.number = int(number)
        if self._raises if first else number == signal.SIGINT:
            raise Interrupted(number)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this a signal is raised where it arrives, for work that can be done again.

        Raises:
            Interrupted: Likewise.
        """
        self._raises = True
        try:
            yield
        finally:
            self._raises = False


@contextmanager
def _handled(request: Request, *, always: tuple[int, ...] = ()) -> Iterator[Request]:
    """Signals that would stop the process, and ``always`` those, go to the request; afterwards to whom they went before."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        current = {number: signal.getsignal(number) for number in SIGNALS}
        before = {number: handler for number, handler in current.items() if number in always or _stops(handler)}
    for number in before:
        signal.signal(number, request)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stops(handler: Any) -> bool:
    """Whether a signal with that handler stops the process, rather than being ignored or the calling program's own affair."""
    return handler in (signal.SIG_DFL, signal.default_int_handler) or isinstance(handler, Request)


@contextmanager
def finishing() -> Iterator[Request]:
    """The first signal is noted, for the work to be brought to an end. Ctrl-C is, even in a process that ignores it."""
    with _handled(Request(raises=False), always=(signal.SIGINT,)) as request:
        yield request


@contextmanager
def raising() -> Iterator[Request]:
    """The first signal is raised where it arrives, as Python does with Ctrl-C.

    Raises:
        Interrupted: Likewise.
    """
    with _handled(Request(raises=True)) as request:
        yield request


@contextmanager
def exiting() -> Iterator[None]:
    """Around a program: a signal ends it with one line on stderr and its own exit code.

    Raises:
        SystemExit: With 128 + the number of the signal.
    """
    with raising() as request:
        try:
            yield
        except KeyboardInterrupt as interrupt:
            request.number = number_of(interrupt)  # a repeated signal changes nothing any more
            line = f"interrupted: {interrupt}" if str(interrupt) else "interrupted"
            sys.exit(stopped(request.number, line, sys.stderr))


def number_of(interrupt: KeyboardInterrupt) -> int:
    """The signal behind it: Python's own exception is Ctrl-C's."""
    return interrupt.number if isinstance(interrupt, Interrupted) else int(signal.SIGINT)


def stopped(number: int, text: str, stream: TextIO | None = None) -> int:
    """Say what was stopped, where anybody still listens; the exit code of the program, which is to end soon.

    Args:
        number: Of the signal.
        text: What to say.
        stream: Where; stdout unless given.
    """
    atexit.register(gc.freeze)  # else the interpreter's last look for cycles, over all of torch, takes a second
    stream = sys.stdout if stream is None else stream
    try:
        print(text, file=stream, flush=True)
    except OSError:  # the terminal that closed is where it would be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 128 + number
