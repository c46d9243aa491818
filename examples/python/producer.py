"""Enqueues what worker.py runs, and waits for the results."""

import stem

with stem.Client() as client:
    counted = client.enqueue("text.count", {"text": "to be or not to be"}, queue="examples")
    flaky = client.enqueue("text.flaky", queue="examples", max_retries=3)
    print(counted.get(timeout=30))
    print(flaky.get(timeout=30))
