"""What Stem raises. `code` is for programs ("full", "timeout", ...), the message for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    from .client import Handle


class Error(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NotFoundError(Error):
    """No such namespace, queue or task, or it kept no result."""


class FullError(Error):
    """The segment or the queue has no room."""


class DeadlineError(Error, TimeoutError):
    """The time given has passed; the task goes on."""


class NotDurableError(Error):
    """The queue's tasks go to the journal, and the journal takes none now."""


class RefusedError(Error):
    """Not in this state."""


class TaskFailed(Error):
    """The task failed for good: `kind` and `reason` are what its last attempt said."""

    def __init__(self, task_id: str, kind: str, reason: str) -> None:
        super().__init__("refused", f"task {task_id} failed for good: {kind}: {reason}")
        self.task_id, self.kind, self.reason = task_id, kind, reason


class TaskCancelled(Error):
    """The task was revoked, has expired, or was discarded."""

    def __init__(self, task_id: str, kind: str, reason: str) -> None:
        super().__init__("refused", f"task {task_id} was cancelled: {kind}: {reason}")
        self.task_id, self.kind, self.reason = task_id, kind, reason


class EnqueueManyError(Error):
    """Some were enqueued, `handles`; the next was refused."""

    def __init__(self, cause: Error, handles: Sequence[Handle]) -> None:
        super().__init__(cause.code, f"after {len(handles)} tasks: {cause}")
        self.handles = list(handles)


_BY_CODE = {
    "not-found": NotFoundError,
    "full": FullError,
    "timeout": DeadlineError,
    "not-durable": NotDurableError,
    "refused": RefusedError,
}


def of_code(code: str, message: str) -> Error:
    return _BY_CODE.get(code, Error)(code, message)
