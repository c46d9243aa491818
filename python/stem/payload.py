"""JSON values and the bytes that tasks carry, as the rest of Stem maps them; and durations."""

from __future__ import annotations

import ctypes
import json
import re
from datetime import timedelta
from typing import Any, Literal, Union

from ._library import FOR_EVER_NS, StemError, check, lib, take

Json = Union[None, bool, int, float, str, "list[Json]", "tuple[Json, ...]", "dict[str, Json]"]
Decode = Literal["json", "text", "bytes"]
Duration = Union[int, float, timedelta]

_LONG_NUMBER = re.compile(r"[0-9]{19}")


def _refuse_big_integers(value: Any) -> None:
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError(f"{value} does not fit into 64 bits; send it as a text")
    if isinstance(value, dict):
        for each in value.values():
            _refuse_big_integers(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _refuse_big_integers(each)


def encode(value: Json | bytes | bytearray | memoryview) -> bytes:
    """None is no bytes at all, bytes are themselves, a str its UTF-8, everything else MessagePack."""
    if value is None:
        return b""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    if _LONG_NUMBER.search(text):  # would become a rounded float
        _refuse_big_integers(value)
    raw = text.encode()
    out, error = ctypes.c_void_p(), StemError()
    check(lib.stem_json_to_payload(raw, len(raw), ctypes.byref(out), ctypes.byref(error)), error)
    return take(out)


def decode(payload: bytes, how: Decode = "json") -> Any:
    """`text` and `bytes` take the bytes at their word. `json` reads what encode() wrote, but a str of two or three
    bytes outside ASCII can look like a number: where a bare str is expected, ask for `text`."""
    if how == "bytes":
        return payload
    if how == "text":
        return payload.decode()
    out, error = ctypes.c_void_p(), StemError()
    check(lib.stem_payload_to_json(payload, len(payload), ctypes.byref(out), ctypes.byref(error)), error)
    return json.loads(take(out))


def check_decode(how: str) -> None:
    if how not in ("json", "text", "bytes"):
        raise ValueError(f"decode is {how!r}: give 'json', 'text' or 'bytes'")


def to_ns(duration: Duration, what: str) -> int:
    """Seconds, or a timedelta."""
    if isinstance(duration, timedelta):
        ns = (duration.days * 86_400 + duration.seconds) * 1_000_000_000 + duration.microseconds * 1000
    elif isinstance(duration, int):
        ns = duration * 1_000_000_000
    else:
        if duration != duration:
            raise ValueError(f"{what} is not a number")
        if abs(duration) >= FOR_EVER_NS / 1e9:
            raise ValueError(f"{what} is out of range")
        ns = round(duration * 1e9)
    if not -FOR_EVER_NS <= ns <= FOR_EVER_NS:
        raise ValueError(f"{what} is out of range")
    return ns


def to_count(value: int, bits: int, what: str) -> int:
    """ctypes would cut off what does not fit."""
    if not isinstance(value, int) or not 0 <= value < 2**bits:
        raise ValueError(f"{what} is not a whole number of {bits} bits")
    return value
