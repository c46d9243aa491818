"""Producers: Client.enqueue(), and what became of a task, Handle."""

from __future__ import annotations

import ctypes
import json
import os
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Iterable, Mapping, Sequence, TypedDict

from typing import Unpack

from . import _library as c
from ._library import check, lib, text
from .errors import EnqueueManyError, Error, FullError, NotFoundError, TaskCancelled, TaskFailed
from .payload import Decode, Duration, Json, check_decode, decode, encode, to_count, to_ns

_SLICE_NS = 100_000_000  # how long a call may keep Ctrl-C waiting
_RETRIES = {"exponential": 0, "linear": 1, "constant": 2}


@dataclass(frozen=True)
class Link:
    """A task that follows another."""

    name: str
    args: Json | bytes = None
    queue: str | None = None
    priority: int = 0
    max_retries: int | None = None
    keep_result: bool = False


class EnqueueOptions(TypedDict, total=False):
    """Durations are seconds or a timedelta; what is left out has the default of the command line."""

    queue: str
    priority: int  # 0 to 9, larger first
    delay: Duration
    eta: datetime  # with a time zone; not together with delay
    expires: Duration  # from now: not started after it
    max_retries: int
    result_ttl: Duration  # 0 keeps no result; else one day
    full_timeout: Duration  # how long to wait for room
    headers: Mapping[str, str]
    meta: Mapping[str, Any]
    unique: bool
    unique_key: str
    unique_for: Duration
    idempotency_key: str
    affinity_key: str
    visibility_timeout: Duration
    soft_time_limit: Duration
    hard_time_limit: Duration
    rate_limit: str  # "10/s"
    group_rate_limit: str
    group_rate_key: str
    group_rate_key_header: str
    concurrency_limit: int
    concurrency_key: str
    rate_limiter_failure_mode: str  # "failOpen", "failClosed"
    auto_renew: bool
    retry: str  # "exponential", "linear", "constant"
    retry_base: Duration
    retry_max: Duration
    retry_for: Sequence[str]  # error kinds
    no_retry_for: Sequence[str]
    link: Sequence[Link]  # after success
    link_error: Sequence[Link]  # after final failure


_TEXTS = (
    "queue unique_key idempotency_key affinity_key rate_limit group_rate_limit group_rate_key "
    "group_rate_key_header concurrency_key"
).split()
_DURATIONS = (
    "delay expires unique_for visibility_timeout soft_time_limit hard_time_limit retry_base retry_max"
).split()
_NUMBERS = "priority concurrency_limit".split()
_GIVEN_DURATIONS = {"result_ttl": c.GIVEN_RESULT_TTL, "full_timeout": c.GIVEN_FULL_TIMEOUT}
_LINKS = {"link": ("links", "link_count"), "link_error": ("error_links", "error_link_count")}


def _number(value: int, what: str) -> int:
    if not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise ValueError(f"{what} is not a whole number of 32 bits")
    return value


def _choice(value: str, choices: Mapping[str, int], what: str) -> int:
    if value not in choices:
        raise ValueError(f"{what} is {value!r}: give one of {', '.join(choices)}")
    return choices[value]


def _kinds(kinds: Sequence[str], what: str) -> bytes | None:
    if isinstance(kinds, str):
        raise TypeError(f"{what} is a list of error kinds, not a str")
    return text(",".join(kinds), what)


def _eta_ns(eta: datetime) -> int:
    if eta.tzinfo is None:
        raise ValueError("eta has no time zone")
    ns = int(eta.timestamp() * 1e6) * 1000
    if ns > c.FOR_EVER_NS:  # ctypes would cut it, and the task run at once
        raise ValueError("eta is out of range: the last is 2262-04-11")
    return max(1, ns)


def _c_headers(headers: Mapping[str, str]) -> ctypes.Array[c.Header]:
    made = (c.Header * len(headers))()
    for one, (name, value) in zip(made, headers.items()):
        one.name, one.value = text(name, "a header's name"), text(value, f"header {name}")
    return made


def _c_links(links: Sequence[Link]) -> ctypes.Array[c.CLink]:
    made = (c.CLink * len(links))()
    kept = []
    for one, link in zip(made, links):
        payload = encode(link.args)
        bytes_ = ctypes.create_string_buffer(payload, max(1, len(payload)))
        kept.append(bytes_)
        one.task, one.queue = text(link.name, "a link's name"), text(link.queue, "a link's queue")
        one.payload = c.StemBytes(ctypes.cast(bytes_, ctypes.c_void_p), len(payload))
        one.priority = _number(link.priority, "a link's priority")
        if link.max_retries is not None and _number(link.max_retries, "a link's max_retries") < 0:
            raise Error("invalid-argument", "a link's max_retries is negative")
        one.max_retries = -1 if link.max_retries is None else link.max_retries
        one.keep_result = int(link.keep_result)
    made.kept = kept  # type: ignore[attr-defined]  # as long as the array
    return made


def c_options(options: EnqueueOptions) -> c.CEnqueueOptions:
    """ctypes keeps alive what the fields point to."""
    o = c.CEnqueueOptions(size=ctypes.sizeof(c.CEnqueueOptions))
    for name, value in options.items():
        if value is None:
            continue
        if name in _TEXTS:
            setattr(o, name, text(value, name))  # type: ignore[arg-type]
        elif name in _DURATIONS:
            setattr(o, name + "_ns", to_ns(value, name))  # type: ignore[arg-type]
        elif name in _NUMBERS:
            setattr(o, name, _number(value, name))  # type: ignore[arg-type]
        elif name in _GIVEN_DURATIONS:
            setattr(o, name + "_ns", to_ns(value, name))  # type: ignore[arg-type]
            o.given |= _GIVEN_DURATIONS[name]
        elif name == "max_retries":
            o.max_retries = _number(value, name)  # type: ignore[arg-type]
            o.given |= c.GIVEN_MAX_RETRIES
        elif name == "unique":
            o.unique = int(bool(value))
        elif name == "auto_renew":
            o.no_auto_renew = int(not value)
        elif name == "eta":
            o.eta_ns = _eta_ns(value)  # type: ignore[arg-type]
        elif name == "retry":
            o.retry = _choice(value, _RETRIES, name)  # type: ignore[arg-type]
        elif name == "rate_limiter_failure_mode":
            o.limits_fail_closed = _choice(value, {"failOpen": 0, "failClosed": 1}, name)  # type: ignore[arg-type]
        elif name in ("retry_for", "no_retry_for"):
            setattr(o, name, _kinds(value, name))  # type: ignore[arg-type]
        elif name == "meta":
            o.meta = json.dumps(value, allow_nan=False).encode()
        elif name == "headers":
            array = _c_headers(value)  # type: ignore[arg-type]
            o.headers, o.header_count = ctypes.cast(array, ctypes.POINTER(c.Header)), len(array)
        elif name in _LINKS:
            links = _c_links(value)  # type: ignore[arg-type]
            pointer, count = _LINKS[name]
            setattr(o, pointer, ctypes.cast(links, ctypes.POINTER(c.CLink)))
            setattr(o, count, len(links))
        else:
            raise TypeError(f"enqueue has no option {name!r}")
    return o


def enqueue_payload(call: Any, owner: Any, name: str, payload: bytes, options: c.CEnqueueOptions) -> c.Enqueued:
    """stem_enqueue() or stem_task_enqueue(). A wait for room is done in slices, so that Ctrl-C works."""
    wait_ns = options.full_timeout_ns if options.given & c.GIVEN_FULL_TIMEOUT else 0
    until_ns = time.monotonic_ns() + wait_ns
    enqueued, error = c.Enqueued(), c.StemError()
    task = text(name, "the task's name")
    while True:
        if wait_ns > _SLICE_NS:
            options.full_timeout_ns = max(0, min(_SLICE_NS, until_ns - time.monotonic_ns()))
        try:
            check(call(owner, task, payload, len(payload), options, enqueued, error), error)
            return enqueued
        except FullError:
            if time.monotonic_ns() >= until_ns:
                raise


def _enqueue_many(
    client: Any, task: bytes | None, payloads: Sequence[bytes], options: c.CEnqueueOptions
) -> tuple[list[c.Enqueued], Error | None]:
    """stem_enqueue_many(); those accepted, and why the next was not. All are tried without a wait; for the one that
    finds no room it is waited in slices, or, where the queue itself says how long (a second), in one call for it alone,
    so that Ctrl-C works however many there are."""
    count = len(payloads)
    views, made = (c.StemBytes * max(1, count))(), (c.Enqueued * max(1, count))()  # never empty: [0] is pointed to
    for view, payload in zip(views, payloads):
        view.data = ctypes.cast(ctypes.c_char_p(payload), ctypes.c_void_p)
        view.size = len(payload)
    asked = bool(options.given & c.GIVEN_FULL_TIMEOUT)
    wait_ns = options.full_timeout_ns if asked else 0
    total, accepted, error = 0, ctypes.c_size_t(), c.StemError()
    until_ns: int | None = None  # of the task that found no room
    while True:
        if asked or until_ns is None:
            left_ns = 0 if until_ns is None else max(0, until_ns - time.monotonic_ns())
            options.full_timeout_ns = min(_SLICE_NS, left_ns)
            options.given |= c.GIVEN_FULL_TIMEOUT
        else:
            options.given &= ~c.GIVEN_FULL_TIMEOUT
        at = min(total, len(views) - 1)
        code = lib.stem_enqueue_many(
            client, task, ctypes.byref(views[at]), count - total if until_ns is None else 1, options,
            ctypes.byref(made[at]), accepted, error,
        )
        total += accepted.value
        try:
            check(code, error)
            if total == count:
                return made[:total], None
            until_ns = None
        except FullError as e:
            if until_ns is None and (wait_ns > 0 or not asked):
                until_ns = time.monotonic_ns() + wait_ns
            elif until_ns is None or time.monotonic_ns() >= until_ns:
                return made[:total], e
        except Error as e:
            return made[:total], e


@dataclass(frozen=True)
class Ended:
    """How a task ended: `state` is succeeded, cancelled, dead, or gone (nothing was kept of it)."""

    state: str
    result: bytes
    error_kind: str
    error_message: str


@dataclass(frozen=True)
class Progress:
    fraction: float
    data: Any


class Handle:
    """A task that was enqueued. Any thread; keeps its client's segment open."""

    def __init__(self, raw: _RawClient, task_id: str, duplicate: bool) -> None:
        self._raw = raw
        self.id = task_id
        self.duplicate = duplicate  # a unique task was there already: this is the holder's id

    def __repr__(self) -> str:
        return f"<stem.Handle {self.id}>"

    def wait(self, timeout: Duration | None = None) -> Ended:
        """Until it is over. None waits for ever; DeadlineError when the time has passed."""
        left_ns = c.FOR_EVER_NS if timeout is None else max(0, to_ns(timeout, "timeout"))
        until_ns = time.monotonic_ns() + left_ns
        result, error = ctypes.c_void_p(), c.StemError()
        while True:
            slice_ns = max(0, min(_SLICE_NS, until_ns - time.monotonic_ns()))
            code = lib.stem_wait(self._raw.pointer, self.id.encode(), slice_ns, result, error)
            if code == 0:
                break
            if lib.stem_code_name(code) != b"timeout" or time.monotonic_ns() >= until_ns:
                check(code, error)
        try:
            return Ended(
                lib.stem_state_name(lib.stem_result_state(result)).decode(),
                c.copy(lib.stem_result_value(result)),
                lib.stem_result_error_kind(result).decode("utf-8", "replace"),
                lib.stem_result_error_message(result).decode("utf-8", "replace"),
            )
        finally:
            lib.stem_result_free(result)

    def get(self, timeout: Duration | None = None, *, as_: Decode = "json") -> Any:
        """Its result. TaskFailed, TaskCancelled; NotFoundError when it is over and kept none."""
        check_decode(as_)
        ended = self.wait(timeout)
        if ended.state == "succeeded":
            return decode(ended.result, as_)
        if ended.state == "gone":
            raise NotFoundError(
                "not-found", f"task {self.id} is over and kept no result, or was never here; give it a result_ttl"
            )
        raise (TaskFailed if ended.state == "dead" else TaskCancelled)(self.id, ended.error_kind, ended.error_message)

    def state(self) -> str:
        """queued, delayed, running, retried (waits for its next attempt), succeeded, cancelled, dead, gone."""
        state, error = ctypes.c_int32(), c.StemError()
        check(lib.stem_state(self._raw.pointer, self.id.encode(), state, error), error)
        return lib.stem_state_name(state).decode()

    def progress(self) -> Progress | None:
        """What it last said; None when it does not run or has said nothing."""
        fraction, data, error = ctypes.c_double(), ctypes.c_void_p(), c.StemError()
        check(lib.stem_progress(self._raw.pointer, self.id.encode(), fraction, data, error), error)
        if not data:
            return None
        said = c.take(data)
        try:
            return Progress(fraction.value, json.loads(said) if said else None)
        except ValueError:
            return Progress(fraction.value, said.decode("utf-8", "replace"))

    def revoke(self, *, terminate: bool = False) -> str:
        """Cancels it if it has not started; `terminate` asks a running one to stop. The state it was met in."""
        met, error = ctypes.c_int32(), c.StemError()
        check(lib.stem_revoke(self._raw.pointer, self.id.encode(), int(terminate), met, error), error)
        return lib.stem_state_name(met).decode()


class _RawClient:
    """The pointer, closed when the last call and the last handle have let go of it."""

    def __init__(self, pointer: ctypes.c_void_p) -> None:
        self.pointer = pointer

    def __del__(self, close: Any = lib.stem_client_close) -> None:
        close(self.pointer)


class Client:
    """Opens a namespace, and makes it if it is not there. Any thread; goes on working after a fork."""

    def __init__(
        self,
        namespace: str | None = None,
        *,
        directory: str | os.PathLike[str] | None = None,
        create: bool = True,
        task_capacity: int = 0,
        participant_capacity: int = 0,
        payload_capacity_bytes: int = 0,
    ) -> None:
        options = c.ClientOptions(
            size=ctypes.sizeof(c.ClientOptions),
            name_space=text(namespace, "the namespace"),
            directory=None if directory is None else os.fsencode(directory),
            must_exist=int(not create),
            task_capacity=to_count(task_capacity, 32, "task_capacity"),
            participant_capacity=to_count(participant_capacity, 32, "participant_capacity"),
            payload_capacity_bytes=to_count(payload_capacity_bytes, 64, "payload_capacity_bytes"),
        )
        pointer, error = ctypes.c_void_p(), c.StemError()
        check(lib.stem_client_open(options, pointer, error), error)
        self._open: _RawClient | None = _RawClient(pointer)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Handles that are still held go on working."""
        self._open = None

    @property
    def _raw(self) -> _RawClient:
        if self._open is None:
            raise ValueError("this client is closed")
        return self._open

    def enqueue(self, name: str, args: Json | bytes = None, /, **options: Unpack[EnqueueOptions]) -> Handle:
        """Once it has returned, the task runs, or ends as a dead letter, or is cancelled by somebody."""
        raw = self._raw
        made = enqueue_payload(lib.stem_enqueue, raw.pointer, name, encode(args), c_options(options))
        return Handle(raw, made.id.decode(), bool(made.duplicate))

    def enqueue_many(
        self, name: str, many_args: Iterable[Json | bytes], /, **options: Unpack[EnqueueOptions]
    ) -> list[Handle]:
        """One visit for many: cheaper than one by one. EnqueueManyError has the handles of those accepted."""
        raw = self._raw
        payloads = [encode(args) for args in many_args]
        made, refused = _enqueue_many(raw.pointer, text(name, "the task's name"), payloads, c_options(options))
        handles = [Handle(raw, one.id.decode(), bool(one.duplicate)) for one in made]
        if refused is not None:
            raise EnqueueManyError(refused, handles) from None
        return handles

    def handle(self, task_id: str) -> Handle:
        """A task enqueued elsewhere, by its id. Error when the text is not an id."""
        handle = Handle(self._raw, task_id, False)
        handle.state()
        return handle


def destroy(namespace: str, *, directory: str | os.PathLike[str] | None = None) -> None:
    """Removes a namespace and everything in it. NotFoundError."""
    error = c.StemError()
    where = None if directory is None else os.fsencode(directory)
    check(lib.stem_destroy(text(namespace, "the namespace"), where, error), error)
