"""A worker in Python. Start it, then producer.py; Ctrl-C ends it."""

import stem

worker = stem.Worker(queues=["examples"], concurrency=2)


@worker.task("text.count")
def count(task: stem.Task, args):
    words = args["text"].split()
    for done, _ in enumerate(words):
        task.progress(done / len(words))
    return {"words": len(words), "attempt": task.attempt}


@worker.task("text.flaky")
def flaky(task: stem.Task, args):
    if task.attempt == 0:
        raise stem.Retry("the first time never works", delay=0.1)
    return "worked"


if __name__ == "__main__":
    worker.run()
