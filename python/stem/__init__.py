"""Stem: a task queue in shared memory.

Producers::

    import stem

    with stem.Client() as client:
        handle = client.enqueue("img.resize", {"file": "a.jpg", "width": 64}, queue="img", delay=5)
        print(handle.get(timeout=30))

Workers::

    worker = stem.Worker(queues=["img"])

    @worker.task("img.resize")
    def resize(task: stem.Task, args):
        return {"width": args["width"]}

    worker.run()

Arguments and results are JSON values, stored as `stem enqueue --args` and C++ types with to_json store them,
so each side can be in either language; bytes travel as they are. It needs libstem-c.so.1, or the file that
$STEM_LIBRARY names, and no compiler.
"""

from ._library import version
from .client import Client, Ended, EnqueueOptions, Handle, Link, Progress, destroy
from .errors import (
    DeadlineError,
    EnqueueManyError,
    Error,
    FullError,
    NotDurableError,
    NotFoundError,
    RefusedError,
    TaskCancelled,
    TaskFailed,
)
from .events import Event, Events
from .payload import Json
from .worker import Discard, Fail, Retry, Snooze, Task, Worker

__version__ = version()

__all__ = [
    "Client",
    "DeadlineError",
    "Discard",
    "Ended",
    "EnqueueManyError",
    "EnqueueOptions",
    "Error",
    "Event",
    "Events",
    "Fail",
    "FullError",
    "Handle",
    "Json",
    "Link",
    "NotDurableError",
    "NotFoundError",
    "Progress",
    "RefusedError",
    "Retry",
    "Snooze",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "Worker",
    "destroy",
    "version",
]
