"""The worker program of the tests: worker_app.py [CONCURRENCY]."""

import asyncio
import datetime
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

import stem
import stem.worker

random.seed(7)
stem.worker._CHILDREN_S = 0.2
worker = stem.Worker(queues=["py"], concurrency=int(sys.argv[1]) if len(sys.argv) > 1 else 2, pin="none")
started = []


@worker.on_process_start
def start():
    started.append(os.getpid())


@worker.on_process_start
async def connect():
    global background
    background = asyncio.create_task(asyncio.sleep(3600))  # the process's own: no handler's end ends it


@worker.task("py.echo")
def echo(task, args):
    return args


@worker.task("py.text", decode="text")
def text(task, args):
    assert isinstance(args, str)
    return args[::-1]


@worker.task("py.bytes", decode="bytes")
def raw(task, args):
    return args[::-1]


@worker.task("py.async")
async def slowly(task, args):
    if args == "raise":
        await asyncio.sleep(0.001)
        raise KeyError("from a coroutine")
    if args == "wait":
        task.progress(0.5)
        await asyncio.sleep(3600)
    if args == "stubborn":
        asyncio.create_task(never_ends())
    left = asyncio.create_task(asyncio.sleep(3600))  # ends with its handler
    await asyncio.sleep(0.001)
    of_before = [one for one in children if one.done()]
    children.append(left)
    return {"left": left.done(), "ended": len(of_before), "kept": not background.done(), "args": args}


children = []


async def never_ends():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass


@worker.task("py.describe")
def describe(task, args):
    return {
        "id": task.id,
        "name": task.name,
        "queue": task.queue,
        "attempt": task.attempt,
        "max_retries": task.max_retries,
        "priority": task.priority,
        "headers": task.headers,
        "meta": task.meta,
        "idempotency_key": task.idempotency_key,
        "trace": task.traceparent[:36],
        "deadline": task.deadline is not None and task.deadline > time.monotonic(),
        "started": started == [os.getpid()] and os.getpid() != os.getppid(),
        "main_thread": threading.current_thread() is threading.main_thread(),
    }


@worker.task("py.random")
def draw(task, args):
    # Every process must draw its own numbers, and threads must run in it.
    drawn = []
    thread = threading.Thread(target=lambda: drawn.append(random.random()))
    thread.start()
    thread.join()
    time.sleep(args)
    return [os.getpid(), drawn[0]]


def deep(n):
    if n == 0:
        raise ValueError("no such\nthing")
    deep(n - 1)


@worker.task("py.raise")
def raise_error(task, args):
    deep(args)


@worker.task("py.exit")
def leave(task, args):
    print("said before it left")
    sys.exit(3)


@worker.task("py.object")
def give_object(task, args):
    return object()


@worker.task("py.flow")
def flow(task, args):
    if args == "retry" and task.attempt < 2:
        raise stem.Retry("not yet", delay=0.01)
    if args == "discard":
        raise stem.Discard("no more")
    if args == "fail":
        raise stem.Fail("for good")
    return task.attempt


@worker.task("py.snooze")
def snooze(task, args):
    path = pathlib.Path(args)
    if not path.exists():
        path.touch()
        raise stem.Snooze(datetime.timedelta(milliseconds=10))
    return task.attempt


@worker.task("py.patient")
def patient(task, args):
    task.progress(0.5, {"step": 1})
    while not task.stop_requested:
        time.sleep(0.001)
    return "stopped"


@worker.task("py.parent")
def parent(task, args):
    return task.enqueue("py.echo", ["child"], queue="py", headers={"a": "b"})


@worker.task("py.die")
def die(task, args):
    with open(args, "a") as file:
        print(os.getpid(), file=file)
    if len(pathlib.Path(args).read_text().splitlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "lived"


@worker.task("py.slow")
def slow(task, args):
    """Says where it is, and goes on when it is told to."""
    pathlib.Path(args["running"]).write_text(f"{os.getpid()} {os.getppid()}")
    while not pathlib.Path(args["go"]).exists():
        time.sleep(0.001)
    return os.getpid()


@worker.task("py.keep")
def keep(task, args):
    kept.append(task)


kept = []


@worker.task("py.late")
def late(task, args):
    try:
        return kept[0].id
    except ValueError as e:
        return str(e)


opened_before = stem.Client()
opened_before.enqueue("nobody.runs.it", queue="nobody")


@worker.task("py.inside")
def inside(task, args):
    """A client of before the fork, and a child process of the handler's own."""
    handle = opened_before.enqueue("nobody.runs.it", args, queue="nobody")
    said = subprocess.run(["echo", "from a command"], capture_output=True, text=True, check=True)
    return [handle.state(), said.stdout.strip()]


@worker.task("py.area")
def area(task, args):
    return {"area": args["width"] * args["height"], "of": args["label"]}


@worker.task("py.sum")
def total(task, args):
    return sum(args)


if __name__ == "__main__":
    print("unflushed once", end=" ")
    worker.run()
    print("returned", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
