"""The Python package against real workers. Run by ctest; by hand:

PYTHONPATH=python STEM_LIBRARY=build/release/lib/libstem-c.so STEM_BIN=build/release/bin \
    python3 -m unittest discover -s tests/python -k Wait
"""

import ctypes
import datetime
import gc
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
SHM = tempfile.mkdtemp(prefix="stem-python-", dir="/dev/shm")
os.environ["STEM_SHM_DIRECTORY"] = SHM

import stem  # noqa: E402  (the directory is read when a client opens, but nothing should run before it is ours)
from stem import _library, payload  # noqa: E402
from stem.client import c_options  # noqa: E402

BIN = pathlib.Path(os.environ["STEM_BIN"])
LONG = 60


def tearDownModule():
    shutil.rmtree(SHM)


def wait_until(condition, what):
    deadline = time.monotonic() + LONG
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what}")
        time.sleep(0.002)


class WithWorker(unittest.TestCase):
    """A namespace and a directory of its own; start() gives a Python worker."""

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="stem-python-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.namespace = re.sub(r"[^a-z]", "", self.id().rsplit(".", 1)[1].lower())[:40]
        self.env = {**os.environ, "STEM_NAMESPACE": self.namespace}
        self.env.pop("PYTHONUNBUFFERED", None)  # would hide what is flushed twice or never
        self.client = stem.Client(self.namespace)
        self.addCleanup(self.client.close)

    def start(self, *command):
        log = open(self.directory / f"log{len(list(self.directory.iterdir()))}", "a+")  # appends: said() seeks
        self.addCleanup(log.close)
        process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log, start_new_session=True)
        process.log = log
        self.addCleanup(self.stop, process)
        return process

    def start_python(self, concurrency=2):
        return self.start(sys.executable, HERE / "worker_app.py", str(concurrency))

    def stop(self, process, how=signal.SIGTERM):
        if process.poll() is None:
            process.send_signal(how)
            process.wait(LONG)
        return process.returncode

    def said(self, process):
        process.log.seek(0)
        return process.log.read()

    def run_it(self, name, args=None, **options):
        return self.client.enqueue(name, args, queue="py", **options).get(LONG)


class Handlers(WithWorker):
    def setUp(self):
        super().setUp()
        self.worker = self.start_python()

    def test_values_come_back_as_they_were(self):
        values = [
            {"a": [1, 2.5, None, True, "ü"], "b": {}},
            [], 0, 7, 127, 128, -1, -129, 2**63, -(2**63), 2**64 - 1, 1.5, "x", "text", "ünïcode text", True, None,
        ]
        handles = self.client.enqueue_many("py.echo", values, queue="py")
        self.assertEqual([h.get(LONG) for h in handles], values)

    def test_text_and_bytes_are_taken_at_their_word(self):
        for text in ("п", "рA", "abc"):  # as MessagePack the first two would be numbers
            handle = self.client.enqueue("py.text", text, queue="py")
            self.assertEqual(handle.get(LONG, as_="text"), text[::-1])
        handle = self.client.enqueue("py.bytes", b"\0\1\xff", queue="py")
        self.assertEqual(handle.get(LONG, as_="bytes"), b"\xff\1\0")

    def test_what_a_task_knows(self):
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        handle = self.client.enqueue(
            "py.describe", None, queue="py", priority=4, max_retries=1, headers={"traceparent": trace}, meta={"a": [1]},
            idempotency_key="k", hard_time_limit=30,
        )
        self.assertEqual(
            handle.get(LONG),
            {
                "id": handle.id, "name": "py.describe", "queue": "py", "attempt": 0, "max_retries": 1, "priority": 4,
                "headers": {"traceparent": trace}, "trace": trace[:36], "meta": {"a": [1]}, "idempotency_key": "k", "deadline": True,
                "started": True, "main_thread": True,
            },
        )

    def test_processes_draw_their_own_numbers(self):
        drawn = {}
        def both_have_drawn():
            for handle in self.client.enqueue_many("py.random", [0.02] * 4, queue="py"):
                pid, number = handle.get(LONG)
                drawn.setdefault(pid, number)
            return len(drawn) == 2
        wait_until(both_have_drawn, "both processes ran a task")
        self.assertEqual(len(set(drawn.values())), 2)

    def test_an_exception_is_a_failed_attempt_with_its_place(self):
        handle = self.client.enqueue("py.raise", 50, queue="py", max_retries=0)
        with self.assertRaises(stem.TaskFailed) as caught:
            handle.get(LONG)
        self.assertEqual(caught.exception.kind, "ValueError")
        self.assertTrue(caught.exception.reason.startswith("no such\nthing\n  at "), caught.exception.reason)
        self.assertIn("worker_app.py", caught.exception.reason)
        self.assertIn("in deep: raise ValueError", caught.exception.reason)

    def test_coroutines_are_awaited(self):
        first, second = self.run_it("py.async", 1), self.run_it("py.async", 2)
        self.assertEqual((first["args"], second["args"]), (1, 2))
        self.assertFalse(first["left"])
        self.assertTrue(first["kept"] and second["kept"])
        with self.assertRaises(stem.TaskFailed) as caught:
            self.run_it("py.async", "raise", max_retries=0)
        self.assertEqual(caught.exception.kind, "KeyError")

    def test_what_a_coroutine_leaves_ends_with_it(self):
        self.stop(self.worker)
        self.worker = self.start_python(1)
        ended = [self.run_it("py.async", n)["ended"] for n in range(3)]
        self.assertEqual(ended, [0, 1, 2])
        self.assertTrue(self.run_it("py.async", 4)["kept"], "what a starter left is the process's")

    def test_a_child_that_does_not_let_itself_be_cancelled_keeps_nobody(self):
        self.assertEqual(self.run_it("py.async", "stubborn")["args"], "stubborn")
        self.assertIn("never_ends", self.said(self.worker))
        self.assertEqual([self.run_it("py.async", n)["args"] for n in range(3)], [0, 1, 2])

    def test_a_coroutine_is_cancelled_by_who_may(self):
        waiting = self.client.enqueue("py.async", "wait", queue="py")
        wait_until(lambda: waiting.progress() is not None, "it waits")
        waiting.revoke(terminate=True)
        self.assertEqual(waiting.wait(LONG).state, "cancelled")
        again = self.client.enqueue("py.async", "wait", queue="py")
        wait_until(lambda: again.progress() is not None, "it waits")
        self.stop(self.worker, signal.SIGINT)
        self.assertEqual(again.state(), "queued")

    def test_retry_for_goes_by_the_exceptions_type(self):
        handle = self.client.enqueue("py.raise", 1, queue="py", no_retry_for=["ValueError"], max_retries=9)
        self.assertEqual(handle.wait(LONG).state, "dead")

    def test_exit_and_unwritable_results_fail_the_attempt_only(self):
        for name, kind in [("py.exit", "SystemExit"), ("py.object", "TypeError")]:
            with self.assertRaises(stem.TaskFailed) as caught:
                self.run_it(name, max_retries=0)
            self.assertEqual(caught.exception.kind, kind)
        self.assertIn("said before it left", self.said(self.worker))
        self.assertNotIn("cause=exit", self.said(self.worker))

    def test_outcomes(self):
        self.assertEqual(self.run_it("py.flow", "retry"), 2)
        self.assertEqual(self.run_it("py.snooze", str(self.directory / "snoozed")), 0)
        with self.assertRaises(stem.TaskCancelled) as caught:
            self.run_it("py.flow", "discard")
        self.assertEqual(caught.exception.reason, "no more")
        with self.assertRaises(stem.TaskFailed) as caught:
            self.run_it("py.flow", "fail")
        self.assertEqual(caught.exception.reason, "for good")

    def test_unreadable_payload_is_a_dead_letter(self):
        handle = self.client.enqueue("py.echo", b"\xff\xff\xff\xff", queue="py")
        self.assertEqual(handle.wait(LONG).error_kind, "payload-invalid")
        handle = self.client.enqueue("py.text", b"\xff", queue="py")
        self.assertEqual(handle.wait(LONG).error_kind, "payload-invalid")

    def test_what_the_program_opened_works_in_a_handler(self):
        said = self.run_it("py.inside", "x")
        self.assertEqual(said, ["queued", "from a command"])

    def test_children(self):
        child = self.run_it("py.parent")
        self.assertEqual(self.client.handle(child).get(LONG), ["child"])

    def test_progress_and_revoke(self):
        handle = self.client.enqueue("py.patient", queue="py")
        wait_until(lambda: handle.progress() is not None, "progress")
        self.assertEqual(handle.progress(), stem.Progress(0.5, {"step": 1}))
        self.assertEqual(handle.state(), "running")
        self.assertEqual(handle.revoke(terminate=True), "running")
        self.assertEqual(handle.wait(LONG).state, "cancelled")

    def test_a_task_object_ends_with_its_call(self):
        self.stop(self.worker)
        self.worker = self.start_python(1)
        self.run_it("py.keep")
        self.assertEqual(self.run_it("py.late"), "this task's handler has returned")

    def test_links(self):
        handle = self.client.enqueue("py.echo", [1], queue="py", link=[stem.Link("py.die", str(self.directory / "l"), "py")])
        handle.get(LONG)
        wait_until(lambda: (self.directory / "l").exists(), "the link ran")

    def test_a_killed_process_runs_its_task_again(self):
        path = self.directory / "pids"
        self.assertEqual(self.run_it("py.die", str(path)), "lived")
        pids = path.read_text().split()
        self.assertEqual(len(pids), 2)
        self.assertNotEqual(pids[0], pids[1])

    def test_stdout_is_written_once(self):
        self.run_it("py.echo", 1)
        self.assertEqual(self.stop(self.worker), 0)
        self.assertEqual(self.said(self.worker).count("unflushed once"), 1)
        self.assertIn("returned True", self.said(self.worker))


class Deaths(WithWorker):
    def slow_task(self, client):
        files = {"running": str(self.directory / "running"), "go": str(self.directory / "go")}
        return client.enqueue("py.slow", files, queue="py"), files

    def pids_when_running(self, files):
        running = pathlib.Path(files["running"])
        wait_until(lambda: running.exists() and len(running.read_text().split()) == 2, "the task runs")
        return [int(pid) for pid in running.read_text().split()]

    def test_the_whole_worker_is_killed_and_the_task_runs_again(self):
        first = self.start_python(1)
        handle, files = self.slow_task(self.client)
        process, supervisor = self.pids_when_running(files)
        self.assertEqual(supervisor, first.pid)
        os.kill(supervisor, signal.SIGKILL)
        os.kill(process, signal.SIGKILL)
        first.wait(LONG)
        pathlib.Path(files["go"]).touch()
        self.start_python(1)
        again = handle.get(LONG)
        self.assertNotEqual(again, process)

    def test_interrupt_stops_a_worker_warmly_enough(self):
        worker = self.start_python(2)
        handle = self.client.enqueue("py.patient", queue="py")
        wait_until(lambda: handle.progress() is not None, "it runs")
        os.killpg(worker.pid, signal.SIGINT)  # as a terminal sends it: to every process
        self.assertEqual(worker.wait(LONG), 0)
        self.assertEqual(handle.get(LONG), "stopped")
        self.assertIn("returned True", self.said(worker))
        self.assertNotIn("Traceback", self.said(worker))

    def test_interrupt_ends_a_wait(self):
        waiting = self.start(
            sys.executable, "-c",
            "import stem, sys\n"
            "h = stem.Client().enqueue('nobody.runs.it')\n"
            "try:\n"
            "  print('waiting', flush=True)\n"
            "  h.get()\n"
            "except KeyboardInterrupt: sys.exit(42)",
        )
        wait_until(lambda: "waiting" in self.said(waiting), "it waits")
        self.assertEqual(self.stop(waiting, signal.SIGINT), 42)


class OtherLanguages(WithWorker):
    def test_cpp_runs_what_python_enqueued(self):
        self.start(BIN / "python_peer", "work")
        enqueue = self.client.enqueue
        box = enqueue("cpp.area", {"width": 6, "height": 7, "label": "ö"}, queue="cpp")
        self.assertEqual(box.get(LONG), {"area": 42, "of": "ö"})
        self.assertEqual(enqueue("cpp.double", 21, queue="cpp").get(LONG), 42)
        self.assertEqual(enqueue("cpp.double", -70000, queue="cpp").get(LONG), -140000)
        self.assertEqual(enqueue("cpp.reverse", "abc", queue="cpp").get(LONG, as_="text"), "cba")

    def test_python_runs_what_cpp_enqueued(self):
        self.start_python()
        said = subprocess.run(
            [BIN / "python_peer", "produce"], env=self.env, capture_output=True, text=True, timeout=LONG, check=True
        )
        self.assertEqual(said.stdout, f"15 naïve {3 + 2**40}\n")

    def test_the_command_line(self):
        self.start_python()
        command = [BIN / "stem", "enqueue", "py.echo", "-q", "py", "--args", '{"a":[1,"ü"]}', "--wait", "--timeout", "60s"]
        said = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=LONG, check=True)
        self.assertEqual(said.stdout.splitlines()[1], '{"a":[1,"ü"]}')


class Example(WithWorker):
    def test_it_does_what_it_says(self):
        examples = HERE.parents[1] / "examples" / "python"
        self.start(sys.executable, examples / "worker.py")
        said = subprocess.run(
            [sys.executable, examples / "producer.py"], env=self.env, capture_output=True, text=True, timeout=LONG
        )
        self.assertEqual(said.stdout, "{'attempt': 0, 'words': 6}\nworked\n", said.stderr)


class Producers(WithWorker):
    def test_times_that_pass(self):
        handle = self.client.enqueue("nobody.runs.it")
        self.assertEqual(handle.state(), "queued")
        for timeout in (0, 0.15, datetime.timedelta(milliseconds=5)):
            started = time.monotonic()
            with self.assertRaises(TimeoutError):
                handle.get(timeout)
            self.assertLess(time.monotonic() - started, 5)
        self.assertEqual(handle.revoke(), "cancelled")
        with self.assertRaises(stem.TaskCancelled):
            handle.get(0)
        with self.assertRaises(stem.RefusedError):
            handle.revoke()

    def test_delay_eta_and_expiry(self):
        soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        self.assertEqual(self.client.enqueue("a", delay=3600).state(), "delayed")
        self.assertEqual(self.client.enqueue("a", eta=soon).state(), "delayed")
        with self.assertRaises(ValueError):
            self.client.enqueue("a", eta=datetime.datetime.now())
        utc = datetime.timezone.utc
        for late in (datetime.datetime(9999, 1, 1, tzinfo=utc), datetime.datetime(2262, 4, 12, tzinfo=utc)):
            with self.assertRaisesRegex(ValueError, "eta is out of range"):
                self.client.enqueue("a", eta=late)
        self.assertEqual(self.client.enqueue("a", eta=datetime.datetime(2262, 4, 11, tzinfo=utc)).state(), "delayed")
        self.assertEqual(self.client.enqueue("a", eta=datetime.datetime(1969, 1, 1, tzinfo=utc)).state(), "queued")
        with self.assertRaisesRegex(stem.Error, "delay or eta"):
            self.client.enqueue("a", delay=1, eta=soon)

    def test_unique(self):
        first = self.client.enqueue("a", {"x": 1}, unique=True)
        self.assertFalse(first.duplicate)
        second = self.client.enqueue("a", {"x": 1}, unique=True)
        self.assertTrue(second.duplicate)
        self.assertEqual(second.id, first.id)

    def test_refusals(self):
        enqueue = self.client.enqueue
        negative = [[stem.Link("b", max_retries=n)] for n in (-1, -5)]
        for bad in (
            {"rate_limit": "often"}, {"delay": -1}, {"meta": {"stem.x": 1}}, {"max_retries": -5},
            {"link": negative[0]}, {"link_error": negative[1]},
        ):
            with self.assertRaises(stem.Error) as caught:
                enqueue("a", **bad)
            self.assertEqual(caught.exception.code, "invalid-argument")
        for bad in ({"retry": "sometimes"}, {"delay": float("nan")}, {"delay": 1e30}, {"queue": "a\0b"}, {"priority": 2**40}):
            with self.assertRaises(ValueError):
                enqueue("a", **bad)
        for bad in ({"dely": 1}, {"queue": b"a"}, {"retry_for": "ValueError"}):
            with self.assertRaises(TypeError):
                enqueue("a", **bad)
        for bad in (float("nan"), [2**64], {"x": -(2**63) - 1}, "\ud800"):
            with self.assertRaises(ValueError):
                enqueue("a", bad)
        with self.assertRaises(TypeError):
            enqueue("a", object())
        with self.assertRaises(stem.Error):
            self.client.handle("nonsense")
        with self.assertRaises(stem.NotFoundError):
            self.client.handle("00000001-0000000000000001").get(0)
        with self.assertRaises(stem.NotFoundError):
            stem.Client("absent", create=False)
        with self.assertRaises(stem.Error) as caught:
            enqueue("a", b"x" * (2**20 + 1))
        self.assertEqual(caught.exception.code, "too-large")

    def test_some_of_many(self):
        with self.assertRaises(stem.EnqueueManyError) as caught:
            self.client.enqueue_many("a", [b"1", b"2", b"x" * (2**20 + 1), b"4"])
        self.assertEqual(len(caught.exception.handles), 2)
        self.assertEqual({h.state() for h in caught.exception.handles}, {"queued"})
        self.assertEqual(self.client.enqueue_many("a", []), [])

    def test_a_full_segment(self):
        with stem.Client(self.namespace + "small", task_capacity=64) as small:
            with self.assertRaises(stem.FullError):
                for _ in range(100_000):
                    small.enqueue("a")
            started = time.monotonic()
            with self.assertRaises(stem.FullError):
                small.enqueue("a", full_timeout=0.3)
            self.assertGreaterEqual(time.monotonic() - started, 0.3)
            started = time.monotonic()
            with self.assertRaises(stem.EnqueueManyError) as caught:
                small.enqueue_many("a", [b"1", b"2"], full_timeout=0.3)
            self.assertGreaterEqual(time.monotonic() - started, 0.3)
            self.assertEqual((caught.exception.code, caught.exception.handles), ("full", []))

    def test_many_that_wait_have_the_handles_of_the_accepted(self):
        with stem.Client(self.namespace[:30] + "small", task_capacity=64) as small:
            with self.assertRaises(stem.EnqueueManyError) as caught:
                small.enqueue_many("a", [str(i).encode() for i in range(100_000)], full_timeout=0.2)
            self.assertEqual(caught.exception.code, "full")
            ids = {handle.id for handle in caught.exception.handles}
            self.assertGreaterEqual(len(ids), 32)
            self.assertEqual(len(ids), len(caught.exception.handles))

    def test_interrupt_ends_a_wait_for_room(self):
        waiting = self.start(
            sys.executable, "-c",
            "import stem, sys\n"
            "small = stem.Client('interruptedsmall', task_capacity=64)\n"
            "try:\n"
            "  while True: small.enqueue('a')\n"
            "except stem.FullError: print('full', flush=True)\n"
            "lib = stem._library.lib\n"
            "real = lib.stem_enqueue_many\n"
            "def told(*args):\n"
            "  print('call', flush=True)\n"
            "  return real(*args)\n"
            "lib.stem_enqueue_many = told\n"
            "try: small.enqueue_many('a', [b'1'] * 1000, full_timeout=3600)\n"
            "except KeyboardInterrupt: sys.exit(42)",
        )
        self.addCleanup(stem.destroy, "interruptedsmall")
        wait_until(lambda: "full" in self.said(waiting), "it is full")
        wait_until(lambda: self.said(waiting).count("call") > 5, "it waits, in slices")
        self.assertEqual(self.stop(waiting, signal.SIGINT), 42)

    def test_interrupt_ends_many_that_a_queue_lets_wait(self):
        self.client.enqueue("a", queue="narrow")
        subprocess.run([BIN / "stem", "queue", "set", "narrow", "--max-length", "1", "--overflow", "block"],
                       env=self.env, check=True, stdout=subprocess.DEVNULL)
        self.start(BIN / "stem", "worker", "start", "-q", "narrow", "-c", "1", "--pin", "none", "--exec", "a=sleep 0.2")
        waiting = self.start(
            sys.executable, "-c",
            "import stem, sys\n"
            "client = stem.Client()\n"
            "lib = stem._library.lib\n"
            "real = lib.stem_enqueue_many\n"
            "def told(*args):\n"
            "  print('call', flush=True)\n"
            "  return real(*args)\n"
            "lib.stem_enqueue_many = told\n"
            "try: client.enqueue_many('a', [b'1'] * 10000, queue='narrow')\n"
            "except KeyboardInterrupt: sys.exit(42)",
        )
        wait_until(lambda: self.said(waiting).count("call") > 5, "it waits, a task at a time")
        self.assertEqual(self.stop(waiting, signal.SIGINT), 42)  # half an hour before the last

    def test_events(self):
        with self.assertRaises(stem.NotFoundError):
            stem.Events("absent")
        with stem.Events(self.namespace, steps=True) as events:
            self.assertIsNone(events.next(0))
            handle = self.client.enqueue("a", queue="py")
            seen = [events.next(LONG), events.next(LONG)]
            self.assertEqual([e.name for e in seen], ["before-task-publish", "after-task-publish"])
            self.assertEqual((seen[1].id, seen[1].task, seen[1].queue), (handle.id, "a", "py"))
            self.assertLess(abs((datetime.datetime.now(datetime.timezone.utc) - seen[1].at).total_seconds()), 3600)
            self.assertEqual(handle.revoke(), "cancelled")
            for event in events:
                if event.name == "task-revoked":
                    break
            self.assertEqual((event.id, events.missed), (handle.id, 0))
        with self.assertRaises(ValueError):
            events.next()

    def test_many_threads(self):
        found = []
        def produce(number):
            found.extend(h.id for h in self.client.enqueue_many("a", [number] * 50))
        threads = [threading.Thread(target=produce, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(set(found)), 400)

    def test_a_forked_child_goes_on(self):
        before = self.client.enqueue("a")
        pid = os.fork()
        if pid == 0:
            try:
                handle = self.client.enqueue("a")
                os._exit(0 if handle.state() == "queued" and before.state() == "queued" else 1)
            except BaseException:
                os._exit(2)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        self.assertEqual(self.client.enqueue("a").state(), "queued")

    def test_a_closed_client(self):
        client = stem.Client(self.namespace)
        handle = client.enqueue("a")
        with client:
            pass
        with self.assertRaisesRegex(ValueError, "closed"):
            client.enqueue("a")
        del client
        gc.collect()
        self.assertEqual(handle.state(), "queued")

    def test_destroy(self):
        stem.Client(self.namespace + "gone").close()
        stem.destroy(self.namespace + "gone")
        with self.assertRaises(stem.NotFoundError):
            stem.destroy(self.namespace + "gone")


class Workers(unittest.TestCase):
    def test_refusals(self):
        with self.assertRaises(TypeError):
            stem.Worker(queues="py")
        for bad in ({"concurrency": -1}, {"max_tasks_per_child": 2**64}, {"autoscale": (1.5, 2)}):
            with self.assertRaises(ValueError):
                stem.Worker(**bad)
        with self.assertRaises(ValueError):
            stem.Client("nothing", task_capacity=2**40)
        with self.assertRaisesRegex(stem.Error, "pin"):
            stem.Worker(pin="everywhere")
        with self.assertRaisesRegex(ValueError, "decode"):
            stem.Worker().task("a", decode="yaml")
        with self.assertRaisesRegex(stem.Error, "handler"):
            stem.Worker("nothing").run()
        with self.assertRaises(stem.Error):
            stem.Worker().task("a name with spaces")(lambda task, args: None)

    def test_other_threads_are_refused(self):
        worker = stem.Worker("nothing")
        worker.task("a")(lambda task, args: None)
        go = threading.Event()
        thread = threading.Thread(target=go.wait)
        thread.start()
        with self.assertRaisesRegex(RuntimeError, "threads"):
            worker.run()
        go.set()
        thread.join()
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)


class Layout(unittest.TestCase):
    """The structs here are those of stem.h: its kept ABI says so."""

    def test_structs(self):
        structs = {
            "stem_error": _library.StemError, "stem_bytes": _library.StemBytes, "stem_header": _library.Header,
            "stem_client_options": _library.ClientOptions, "stem_link": _library.CLink,
            "stem_enqueue_options": _library.CEnqueueOptions, "stem_enqueued": _library.Enqueued,
            "stem_worker_options": _library.WorkerOptions, "stem_event": _library.Event,
        }
        looked_at = 0
        for line in (HERE.parent / "c" / "abi.txt").read_text().splitlines():
            words = line.split()
            if words[0] == "sizeof" and words[1] in structs:
                self.assertEqual(ctypes.sizeof(structs[words[1]]), int(words[2]), line)
                looked_at += 1
            elif words[0] == "offset":
                struct, member = words[1].split(".")
                self.assertEqual(getattr(structs[struct], member).offset, int(words[2]), line)
                looked_at += 1
        self.assertGreaterEqual(looked_at, 20)

    def test_every_function_is_declared(self):
        abi = (HERE.parent / "c" / "abi.txt").read_text()
        self.assertEqual(set(re.findall(r"(stem_\w+)@@", abi)), set(_library._FUNCTIONS))

    def test_every_option_reaches_the_library(self):
        given = {
            name: value
            for names, value in [
                (stem.client._TEXTS, "x"), (stem.client._DURATIONS, 1), (stem.client._NUMBERS, 1),
                (stem.client._GIVEN_DURATIONS, 1), (stem.client._LINKS, [stem.Link("a")]),
                (["max_retries"], 1), (["unique"], True), (["auto_renew"], False), (["retry"], "linear"),
                (["rate_limiter_failure_mode"], "failClosed"), (["retry_for", "no_retry_for"], ["E"]),
                (["eta"], datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)),
                (["meta"], {"a": 1}), (["headers"], {"a": "b"}),
            ]
            for name in names
        }
        self.assertEqual(set(given), set(stem.EnqueueOptions.__annotations__))
        options = c_options(given)
        for field, _ in options._fields_:
            self.assertTrue(getattr(options, field), field)

    def test_durations(self):
        self.assertEqual(payload.to_ns(datetime.timedelta(days=1, microseconds=1), "d"), 86_400_000_001_000)
        self.assertEqual(payload.to_ns(0.25, "d"), 250_000_000)
        self.assertEqual(payload.to_ns(3, "d"), 3_000_000_000)


if __name__ == "__main__":
    unittest.main()
