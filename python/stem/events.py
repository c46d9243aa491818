"""What happens to tasks, workers and queues: Events."""

from __future__ import annotations

import ctypes
import os
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Iterator

from . import _library as c
from ._library import check, lib, text
from .payload import Duration, to_ns

_SLICE_NS = 100_000_000  # how long a call may keep Ctrl-C waiting
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Event:
    """docs/events.md has the names, and what `text` and `value` say of each."""

    name: str  # "task-retry"
    at: datetime
    id: str  # of its task; empty when it is of none, like task and queue
    task: str  # its name
    queue: str
    attempt: int  # from 0
    by: str  # who noted it: a worker process, a client
    text: str  # what went wrong; a worker's name; a traceparent
    reason: str  # of task-failed
    value: int  # nanoseconds, or a number


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


class Events:
    """Follows every process of a namespace, from now on. One thread; NotFoundError when there is no such segment.

    While it is read at least every three seconds, what every task does is noted, too, and with `steps` each step of it.
    """

    def __init__(
        self,
        namespace: str | None = None,
        *,
        directory: str | os.PathLike[str] | None = None,
        steps: bool = False,
    ) -> None:
        self._pointer = ctypes.c_void_p()
        error = c.StemError()
        where = None if directory is None else os.fsencode(directory)
        check(lib.stem_events_follow(text(namespace, "the namespace"), where, int(steps), self._pointer, error), error)

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        pointer, self._pointer = self._pointer, ctypes.c_void_p()
        lib.stem_events_close(pointer)

    def __del__(self) -> None:
        if getattr(self, "_pointer", None):
            self.close()

    @property
    def missed(self) -> int:
        """Events that were overwritten before they were read."""
        return lib.stem_events_missed(self._pointer)

    def next(self, timeout: Duration | None = None) -> Event | None:
        """The next event; None when nothing happens within the time. Without one it waits for ever."""
        if not self._pointer:
            raise ValueError("these events are closed")
        until_ns = time.monotonic_ns() + (c.FOR_EVER_NS if timeout is None else max(0, to_ns(timeout, "timeout")))
        event, error = c.Event(size=ctypes.sizeof(c.Event)), c.StemError()
        while True:
            slice_ns = max(0, min(_SLICE_NS, until_ns - time.monotonic_ns()))
            code = lib.stem_events_next(self._pointer, slice_ns, event, error)
            if code == 0:
                break
            if lib.stem_code_name(code) != b"timeout":
                check(code, error)
            if time.monotonic_ns() >= until_ns:
                return None
        return Event(
            _text(event.name),
            _EPOCH + timedelta(microseconds=event.at_ns // 1000),
            _text(event.id),
            _text(event.task),
            _text(event.queue),
            event.attempt,
            _text(event.by),
            _text(event.text),
            _text(event.reason),
            event.value,
        )

    def __iter__(self) -> Iterator[Event]:
        """For ever; Ctrl-C ends it."""
        while (event := self.next()) is not None:
            yield event
