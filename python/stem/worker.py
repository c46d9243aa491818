"""Workers: functions as handlers, run in processes that the library forks, pins and restarts."""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import json
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any, Callable, Sequence, TypeVar

from typing import Unpack

from . import _library as c
from ._library import check, lib, text
from .client import EnqueueOptions, c_options, enqueue_payload
from .errors import Error
from .payload import Decode, Duration, Json, check_decode, decode, encode, to_count, to_ns

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD, signal.SIGPIPE)
_KEPT_MESSAGE = 850  # of a failure the segment keeps about so many bytes


class Retry(Exception):
    """Again, after `delay` or by the task's retry policy; uses an attempt."""

    def __init__(self, reason: str = "", *, delay: Duration | None = None) -> None:
        super().__init__(reason)
        self.delay_ns = -1 if delay is None else max(0, to_ns(delay, "delay"))


class Snooze(Exception):
    """Later; no attempt used."""

    def __init__(self, delay: Duration) -> None:
        super().__init__(f"snooze {delay}")
        self.delay_ns = max(0, to_ns(delay, "delay"))


class Discard(Exception):
    """Nothing to do any more: over, as cancelled."""


class Fail(Exception):
    """Failed for good: a dead letter, without another attempt."""


class Task:
    """What a handler knows of its task, and may do meanwhile. For the length of the call."""

    def __init__(self, pointer: int) -> None:
        self._pointer: int | None = pointer

    @property
    def _p(self) -> int:
        if self._pointer is None:
            raise ValueError("this task's handler has returned")
        return self._pointer

    @property
    def id(self) -> str:
        return lib.stem_task_id(self._p).decode()

    @property
    def name(self) -> str:
        return lib.stem_task_name(self._p).decode()

    @property
    def queue(self) -> str:
        return lib.stem_task_queue(self._p).decode()

    @property
    def attempt(self) -> int:
        """0 the first time."""
        return lib.stem_task_attempt(self._p)

    @property
    def max_retries(self) -> int:
        return lib.stem_task_max_retries(self._p)

    @property
    def priority(self) -> int:
        return lib.stem_task_priority(self._p)

    @property
    def payload(self) -> bytes:
        return c.copy(lib.stem_task_payload(self._p))

    @property
    def headers(self) -> dict[str, str]:
        return json.loads(lib.stem_task_headers(self._p) or b"{}")

    @property
    def meta(self) -> dict[str, Any]:
        return json.loads(lib.stem_task_meta(self._p) or b"{}")

    @property
    def idempotency_key(self) -> str:
        """The same on every attempt."""
        return lib.stem_task_idempotency_key(self._p).decode("utf-8", "replace")

    @property
    def traceparent(self) -> str:
        """W3C trace context for what the handler does; tasks that it enqueues get it by themselves."""
        return lib.stem_task_traceparent(self._p).decode("utf-8", "replace")

    @property
    def deadline(self) -> float | None:
        """In time.monotonic(): when this attempt is ended by force, or asked to end."""
        ns = lib.stem_task_deadline_ns(self._p)
        return ns / 1e9 if ns else None

    @property
    def stop_requested(self) -> bool:
        """After the soft time limit, a revoke with terminate, or when the worker is told to stop (Ctrl-C)."""
        return bool(lib.stem_task_stop_requested(self._p))

    def heartbeat(self) -> bool:
        """False: the lease was lost, somebody else has the task, and what this call still says is void."""
        return bool(lib.stem_task_heartbeat(self._p))

    def extend_lease(self, by: Duration) -> bool:
        return bool(lib.stem_task_extend_lease(self._p, to_ns(by, "by")))

    def progress(self, fraction: float, data: Json = None) -> bool:
        """0 to 1 and a short JSON value: Handle.progress() and `stem task show` have it while the task runs."""
        said = None if data is None else json.dumps(data, allow_nan=False).encode()
        return bool(lib.stem_task_progress(self._p, fraction, said))

    def enqueue(self, name: str, args: Json | bytes = None, /, **options: Unpack[EnqueueOptions]) -> str:
        """Another task; its id. To wait for it in here would hold this worker."""
        made = enqueue_payload(lib.stem_task_enqueue, self._p, name, encode(args), c_options(options))
        return made.id.decode()


Handler = Callable[[Task, Any], Any]
_H = TypeVar("_H", bound=Handler)


def error_kind(error: BaseException) -> str:
    """As retry_for and the dead letters have it: ValueError, json.decoder.JSONDecodeError."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"


def _described(error: BaseException) -> bytes:
    """The message, whose first line groups failures that look alike; then where, the innermost first, since the end
    is cut."""
    lines = [str(error) or type(error).__name__]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if os.path.dirname(frame.filename) != os.path.dirname(__file__):
            lines.append(f"  at {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}")
    cut = "\n".join(lines).encode("utf-8", "replace").replace(b"\0", b"?")[:_KEPT_MESSAGE]
    return cut.decode("utf-8", "ignore").encode()


_LOOK_S = 0.05  # at whether a coroutine handler is asked to stop
_CHILDREN_S = 5.0  # for what a handler started and left, to end once it is cancelled


class _Loop:
    """One event loop for the process's coroutine handlers, one after the other: what they keep open stays open. Not
    asyncio.run(), which takes SIGINT from the library."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(self, task: Task, coroutine: Any, keeps: bool) -> Any:
        asyncio.set_event_loop(self._loop)
        return self._loop.run_until_complete(self._attended(task, coroutine, keeps))

    async def _attended(self, task: Task, coroutine: Any, keeps: bool) -> Any:
        before = asyncio.all_tasks()
        handler = asyncio.ensure_future(coroutine)
        try:
            while not (await asyncio.wait([handler], timeout=_LOOK_S))[0]:
                if task.stop_requested:
                    handler.cancel()
                    await asyncio.wait([handler])
            return await handler
        finally:
            if not keeps or handler.cancelled() or handler.exception() is not None:
                await self._end_children(asyncio.all_tasks() - before)

    @staticmethod
    async def _end_children(children: set[asyncio.Task[Any]]) -> None:
        """What a handler started and did not wait for ends with it. One that does not let itself be cancelled must not
        keep the process: it is left behind, and said so."""
        for child in children:
            child.cancel()
        if not children:
            return
        ended, stuck = await asyncio.wait(children, timeout=_CHILDREN_S)
        for child in ended:
            if not child.cancelled():
                child.exception()  # nobody waits for it: not worth a warning when it is collected
        for child in stuck:
            print(f"stem: {child.get_coro()} does not end when it is cancelled, and is left behind", file=sys.stderr)


class Worker:
    """`concurrency` processes, each of which runs one task at a time.

    Durations are seconds or a timedelta. The flags of `stem worker start` have the same names.
    """

    def __init__(
        self,
        namespace: str | None = None,
        *,
        queues: Sequence[str] = (),
        directory: str | os.PathLike[str] | None = None,
        concurrency: int = 0,
        node: str | None = None,
        pin: str | None = None,
        prefetch_multiplier: int = 0,
        autoscale: tuple[int, int] | None = None,
        max_tasks_per_child: int = 0,
        max_memory_per_child_bytes: int = 0,
        spin: Duration | None = None,
        drain_timeout: Duration | None = None,
        soft_grace: Duration | None = None,
        banner: bool = True,
    ) -> None:
        if isinstance(queues, str):
            raise TypeError("queues is a list of names, not a str")
        low, high = autoscale or (0, 0)
        o = c.WorkerOptions(
            size=ctypes.sizeof(c.WorkerOptions),
            concurrency=to_count(concurrency, 32, "concurrency"),
            name_space=text(namespace, "the namespace"),
            directory=None if directory is None else os.fsencode(directory),
            queues=text(",".join(queues), "queues"),
            node=text(node, "node"),
            pin=text(pin, "pin"),
            prefetch_multiplier=to_count(prefetch_multiplier, 32, "prefetch_multiplier"),
            autoscale_min=to_count(low, 32, "autoscale"),
            autoscale_max=to_count(high, 32, "autoscale"),
            quiet=int(not banner),
            max_tasks_per_child=to_count(max_tasks_per_child, 64, "max_tasks_per_child"),
            max_memory_per_child_bytes=to_count(max_memory_per_child_bytes, 64, "max_memory_per_child_bytes"),
        )
        times = {"spin": spin, "drain_timeout": drain_timeout, "soft_grace": soft_grace}
        for bit, (name, value) in zip((c.GIVEN_SPIN, c.GIVEN_DRAIN_TIMEOUT, c.GIVEN_SOFT_GRACE), times.items()):
            if value is not None:
                setattr(o, name + "_ns", to_ns(value, name))
                o.given |= bit
        self._pointer = ctypes.c_void_p()
        error = c.StemError()
        check(lib.stem_worker_open(o, self._pointer, error), error)
        self._callbacks: dict[str, Any] = {}
        self._starters: list[Callable[[], Any]] = []
        self._process = os.getpid()
        self._waiting_starters: list[Callable[[], Any]] = []
        self._loop: _Loop | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        pointer, self._pointer = self._pointer, ctypes.c_void_p()
        lib.stem_worker_close(pointer)

    def __del__(self) -> None:
        if getattr(self, "_pointer", None):
            self.close()

    def task(self, name: str, *, decode: Decode = "json") -> Callable[[_H], _H]:
        """Registers handler(task, args), whose return value is the result. `decode` says what args are: the JSON
        value, the payload as a str, or its bytes. An `async def` runs on the process's event loop, one task at a time as
        every handler, and is cancelled when it is asked to stop; one that ends because its worker stops is given back."""
        check_decode(decode)

        def register(handler: _H) -> _H:
            self._register(name, handler, decode)
            return handler

        return register

    def on_process_start(self, starter: Callable[[], Any]) -> Callable[[], Any]:
        """Called in each worker process before its first task: for connections, which must not be shared by a fork.
        Where it raises, the task's attempt fails, and it is called again for the next. An `async def` may leave tasks on
        the event loop, a connection's reader say: they run while handlers do, and end with the process."""
        self._starters.append(starter)
        return starter

    def _register(self, name: str, handler: Handler, how: Decode) -> None:
        if not self._pointer:
            raise ValueError("this worker is closed")

        def call(pointer: int, _context: object) -> None:
            self._call(pointer, handler, how)

        callback, error = c.HANDLER(call), c.StemError()
        check(lib.stem_worker_on(self._pointer, text(name, "the task's name"), callback, None, error), error)
        self._callbacks[name] = callback  # lives as long as the worker may call it

    def run(self) -> None:
        """Until it is told to stop: SIGTERM, Ctrl-C, `stem worker shutdown`. In the main thread, and before other
        threads are started: the processes are forked from here."""
        if threading.current_thread() is not threading.main_thread() or threading.active_count() > 1:
            raise RuntimeError("Worker.run() forks: call it in the main thread, before other threads are started")
        if not self._pointer:
            raise ValueError("this worker is closed")
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        self._process = os.getpid()
        _flush()  # or every process would print what is in the buffers again
        error = c.StemError()
        try:
            code = lib.stem_worker_run(self._pointer, error)
        finally:
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, handler)
        check(code, error)

    # Everything below runs in the worker processes.

    def _begin_process(self) -> None:
        """The interpreter learns that it was forked: its locks, the random numbers, os.register_at_fork."""
        ctypes.pythonapi.PyOS_AfterFork_Child()
        self._process = os.getpid()
        self._waiting_starters = list(self._starters)
        self._loop = None

    def _call(self, pointer: int, handler: Handler, how: Decode) -> None:
        if os.getpid() != self._process:
            self._begin_process()
        task = Task(pointer)
        try:
            self._attempt(task, pointer, handler, how)
        finally:
            task._pointer = None
            _flush()  # the process ends without Python's own flush

    def _attempt(self, task: Task, pointer: int, handler: Handler, how: Decode) -> None:
        try:
            while self._waiting_starters:
                self._awaited(task, self._waiting_starters[0](), keeps=True)
                del self._waiting_starters[0]
            try:
                args = decode(task.payload, how)
            except (Error, ValueError) as e:
                return lib.stem_task_refuse_payload(pointer, _described(e))
            result = encode(self._awaited(task, handler(task, args)))
            lib.stem_task_succeed(pointer, result, len(result))
        except Retry as e:
            lib.stem_task_retry(pointer, e.delay_ns, _words(e))
        except Snooze as e:
            lib.stem_task_snooze(pointer, e.delay_ns)
        except Discard as e:
            lib.stem_task_discard(pointer, _words(e))
        except Fail as e:
            lib.stem_task_fail(pointer, _words(e))
        except asyncio.CancelledError as e:
            late = task.deadline is not None and time.monotonic() >= task.deadline
            if task.stop_requested and not late:
                return lib.stem_task_snooze(pointer, 0)  # the worker stops; a revoke ends the task all the same
            lib.stem_task_error(pointer, error_kind(e).encode(), _described(e))
        except BaseException as e:  # SystemExit and KeyboardInterrupt too: the process is not the handler's to end
            lib.stem_task_error(pointer, error_kind(e).encode(), _described(e))

    def _awaited(self, task: Task, value: Any, keeps: bool = False) -> Any:
        """`keeps`: what it starts and does not wait for belongs to the process, unless it fails: it is called again."""
        if not inspect.iscoroutine(value):
            return value
        if self._loop is None:
            self._loop = _Loop()
        return self._loop.run(task, value, keeps)


def _words(error: Exception) -> bytes:
    return str(error).encode("utf-8", "replace").replace(b"\0", b"?")


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            pass  # closed, or nobody reads
