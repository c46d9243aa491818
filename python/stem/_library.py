"""The C interface (stem/stem.h), declared for ctypes. Calls release the interpreter's lock."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, Structure, c_char, c_char_p, c_double, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64
from ctypes import c_void_p
from typing import Any

from . import errors

FOR_EVER_NS = 2**63 - 1

SUCCEEDED, CANCELLED, DEAD = 3, 5, 6
GIVEN_MAX_RETRIES, GIVEN_RESULT_TTL, GIVEN_FULL_TIMEOUT = 1, 2, 4
GIVEN_SPIN, GIVEN_DRAIN_TIMEOUT, GIVEN_SOFT_GRACE = 8, 16, 32


class StemError(Structure):
    _fields_ = [("code", c_int32), ("message", c_char * 1020)]


class StemBytes(Structure):
    _fields_ = [("data", c_void_p), ("size", c_size_t)]


class ClientOptions(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("name_space", c_char_p),
        ("directory", c_char_p),
        ("must_exist", c_int32),
        ("task_capacity", c_uint32),
        ("participant_capacity", c_uint32),
        ("reserved", c_uint32),
        ("payload_capacity_bytes", c_uint64),
    ]


class Header(Structure):
    _fields_ = [("name", c_char_p), ("value", c_char_p)]


class CLink(Structure):
    _fields_ = [
        ("task", c_char_p),
        ("queue", c_char_p),
        ("payload", StemBytes),
        ("priority", c_int32),
        ("max_retries", c_int32),
        ("keep_result", c_int32),
        ("reserved", c_int32),
    ]


class CEnqueueOptions(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("given", c_uint32),
        ("priority", c_int32),
        ("max_retries", c_int32),
        ("unique", c_int32),
        ("queue", c_char_p),
        ("delay_ns", c_int64),
        ("eta_ns", c_int64),
        ("expires_ns", c_int64),
        ("result_ttl_ns", c_int64),
        ("full_timeout_ns", c_int64),
        ("headers", POINTER(Header)),
        ("header_count", c_size_t),
        ("meta", c_char_p),
        ("unique_key", c_char_p),
        ("unique_for_ns", c_int64),
        ("idempotency_key", c_char_p),
        ("affinity_key", c_char_p),
        ("visibility_timeout_ns", c_int64),
        ("soft_time_limit_ns", c_int64),
        ("hard_time_limit_ns", c_int64),
        ("rate_limit", c_char_p),
        ("group_rate_limit", c_char_p),
        ("group_rate_key", c_char_p),
        ("group_rate_key_header", c_char_p),
        ("concurrency_key", c_char_p),
        ("concurrency_limit", c_int32),
        ("limits_fail_closed", c_int32),
        ("no_auto_renew", c_int32),
        ("retry", c_int32),
        ("retry_base_ns", c_int64),
        ("retry_max_ns", c_int64),
        ("retry_for", c_char_p),
        ("no_retry_for", c_char_p),
        ("links", POINTER(CLink)),
        ("link_count", c_size_t),
        ("error_links", POINTER(CLink)),
        ("error_link_count", c_size_t),
    ]


class Enqueued(Structure):
    _fields_ = [("id", c_char * 32), ("duplicate", c_int32)]


class WorkerOptions(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("given", c_uint32),
        ("concurrency", c_uint32),
        ("name_space", c_char_p),
        ("directory", c_char_p),
        ("queues", c_char_p),
        ("node", c_char_p),
        ("pin", c_char_p),
        ("prefetch_multiplier", c_uint32),
        ("autoscale_min", c_uint32),
        ("autoscale_max", c_uint32),
        ("quiet", c_int32),
        ("max_tasks_per_child", c_uint64),
        ("max_memory_per_child_bytes", c_uint64),
        ("spin_ns", c_int64),
        ("drain_timeout_ns", c_int64),
        ("soft_grace_ns", c_int64),
    ]


class Event(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("name", c_char_p),
        ("id", c_char_p),
        ("task", c_char_p),
        ("queue", c_char_p),
        ("by", c_char_p),
        ("text", c_char_p),
        ("reason", c_char_p),
        ("at_ns", c_int64),
        ("attempt", c_uint32),
        ("reserved", c_int32),
        ("value", c_int64),
    ]


HANDLER = ctypes.CFUNCTYPE(None, c_void_p, c_void_p)

_ERROR = POINTER(StemError)
_OUT = POINTER(c_void_p)
_OPTIONS = POINTER(CEnqueueOptions)

_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "stem_version": (c_char_p, []),
    "stem_code_name": (c_char_p, [c_int32]),
    "stem_state_name": (c_char_p, [c_int32]),
    "stem_buffer_bytes": (StemBytes, [c_void_p]),
    "stem_buffer_free": (None, [c_void_p]),
    "stem_json_to_payload": (c_int, [c_char_p, c_size_t, _OUT, _ERROR]),
    "stem_payload_to_json": (c_int, [c_char_p, c_size_t, _OUT, _ERROR]),
    "stem_client_open": (c_int, [POINTER(ClientOptions), _OUT, _ERROR]),
    "stem_client_close": (None, [c_void_p]),
    "stem_destroy": (c_int, [c_char_p, c_char_p, _ERROR]),
    "stem_enqueue": (c_int, [c_void_p, c_char_p, c_char_p, c_size_t, _OPTIONS, POINTER(Enqueued), _ERROR]),
    "stem_enqueue_many": (
        c_int,
        [c_void_p, c_char_p, POINTER(StemBytes), c_size_t, _OPTIONS, POINTER(Enqueued), POINTER(c_size_t), _ERROR],
    ),
    "stem_state": (c_int, [c_void_p, c_char_p, POINTER(c_int32), _ERROR]),
    "stem_wait": (c_int, [c_void_p, c_char_p, c_int64, _OUT, _ERROR]),
    "stem_result_state": (c_int32, [c_void_p]),
    "stem_result_value": (StemBytes, [c_void_p]),
    "stem_result_error_kind": (c_char_p, [c_void_p]),
    "stem_result_error_message": (c_char_p, [c_void_p]),
    "stem_result_free": (None, [c_void_p]),
    "stem_progress": (c_int, [c_void_p, c_char_p, POINTER(c_double), _OUT, _ERROR]),
    "stem_revoke": (c_int, [c_void_p, c_char_p, c_int32, POINTER(c_int32), _ERROR]),
    "stem_events_follow": (c_int, [c_char_p, c_char_p, c_int32, _OUT, _ERROR]),
    "stem_events_next": (c_int, [c_void_p, c_int64, POINTER(Event), _ERROR]),
    "stem_events_missed": (c_uint64, [c_void_p]),
    "stem_events_close": (None, [c_void_p]),
    "stem_worker_open": (c_int, [POINTER(WorkerOptions), _OUT, _ERROR]),
    "stem_worker_on": (c_int, [c_void_p, c_char_p, HANDLER, c_void_p, _ERROR]),
    "stem_worker_run": (c_int, [c_void_p, _ERROR]),
    "stem_worker_close": (None, [c_void_p]),
    "stem_task_id": (c_char_p, [c_void_p]),
    "stem_task_name": (c_char_p, [c_void_p]),
    "stem_task_queue": (c_char_p, [c_void_p]),
    "stem_task_attempt": (c_uint32, [c_void_p]),
    "stem_task_max_retries": (c_uint32, [c_void_p]),
    "stem_task_priority": (c_int32, [c_void_p]),
    "stem_task_payload": (StemBytes, [c_void_p]),
    "stem_task_headers": (c_char_p, [c_void_p]),
    "stem_task_meta": (c_char_p, [c_void_p]),
    "stem_task_idempotency_key": (c_char_p, [c_void_p]),
    "stem_task_traceparent": (c_char_p, [c_void_p]),
    "stem_task_deadline_ns": (c_int64, [c_void_p]),
    "stem_task_stop_requested": (c_int32, [c_void_p]),
    "stem_task_heartbeat": (c_int32, [c_void_p]),
    "stem_task_extend_lease": (c_int32, [c_void_p, c_int64]),
    "stem_task_progress": (c_int32, [c_void_p, c_double, c_char_p]),
    "stem_task_enqueue": (c_int, [c_void_p, c_char_p, c_char_p, c_size_t, _OPTIONS, POINTER(Enqueued), _ERROR]),
    "stem_task_succeed": (None, [c_void_p, c_char_p, c_size_t]),
    "stem_task_retry": (None, [c_void_p, c_int64, c_char_p]),
    "stem_task_snooze": (None, [c_void_p, c_int64]),
    "stem_task_discard": (None, [c_void_p, c_char_p]),
    "stem_task_fail": (None, [c_void_p, c_char_p]),
    "stem_task_error": (None, [c_void_p, c_char_p, c_char_p]),
    "stem_task_refuse_payload": (None, [c_void_p, c_char_p]),
}


def _load() -> ctypes.CDLL:
    name = os.environ.get("STEM_LIBRARY") or "libstem-c.so.1"
    try:
        library = ctypes.CDLL(name)
    except OSError as e:
        raise ImportError(f"stem needs libstem-c.so.1 (package libstem, or $STEM_LIBRARY): {e}") from e
    for function, (result, arguments) in _FUNCTIONS.items():
        declared = getattr(library, function)
        declared.restype = result
        declared.argtypes = arguments
    return library


lib = _load()


def version() -> str:
    return lib.stem_version().decode()


def check(code: int, error: StemError) -> None:
    if code != 0:
        raise errors.of_code(lib.stem_code_name(code).decode(), error.message.decode("utf-8", "replace"))


def copy(bytes_: StemBytes) -> bytes:
    return ctypes.string_at(bytes_.data, bytes_.size) if bytes_.size else b""


def take(buffer: c_void_p) -> bytes:
    """A copy of a buffer that is ours to free."""
    try:
        return copy(lib.stem_buffer_bytes(buffer))
    finally:
        lib.stem_buffer_free(buffer)


def text(value: str | None, what: str) -> bytes | None:
    """A C string; a zero byte in it would cut it silently."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError(f"{what} has a zero byte in it")
    return value.encode()
