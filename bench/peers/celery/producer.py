"""Sends all tasks over one connection, as a loop of apply_async does with a producer of its own."""

import sys

from tasks import app, bench


def main():
    task_count, payload_bytes = int(sys.argv[1]), int(sys.argv[2])
    text = "x" * max(0, payload_bytes - 16)
    with app.producer_pool.acquire(block=True) as producer:
        producer.connection.ensure_connection(max_retries=3)
        print("ready", flush=True)
        if not sys.stdin.readline():
            sys.exit("stem-bench has gone")
        for n in range(task_count):
            bench.apply_async((n, text), producer=producer)
    print("done", task_count, flush=True)


main()
