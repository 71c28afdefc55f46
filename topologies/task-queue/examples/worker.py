#!/usr/bin/env python3
"""A handler that asks: it takes a task of a queue with `pull = true` whenever it has time for one.

    TASK_QUEUE_TOKEN=… python3 worker.py QUEUE http://127.0.0.1:9464 [http://…]

The token is the instances' `http.token`. Any instance does; one that is away is asked again later, and another one meanwhile.
While it works it says so: an attempt of which nothing is said for `lease-ms` goes to somebody else.
"""

import base64
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request

TOKEN = os.environ["TASK_QUEUE_TOKEN"]


def post(url, body=b"", patience=30):
    """Status and body of the answer."""
    request = urllib.request.Request(url, data=body, method="POST", headers={"authorization": f"Bearer {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=patience) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class HeartBeat:
    """Says `working` three times within each lease, until the work is over."""

    def __init__(self, lease, lease_ms):
        self.lease, self.every, self.over = lease, lease_ms / 3000, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.over.wait(self.every):
            try:
                if post(f"{self.lease}/working", patience=5)[0] == 410:
                    return  # somebody else has the task; what is said at the end does not count
            except OSError:
                pass  # the instance is away; it is asked again

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def work(task):
    """Takes its time: longer than a lease lasts."""
    payload = base64.b64decode(task["payload"])
    time.sleep(task["lease-ms"] / 1000 * 1.5)
    return b"report of " + payload


def turn(instance, queue):
    """Asks once, and does what it is given."""
    status, body = post(f"{instance}/queues/{queue}/lease?wait=2s")
    if status == 204:
        return
    if status != 200:
        raise OSError(f"{status}: {body.decode(errors='replace')}")
    task = json.loads(body)
    lease = f"{instance}/leases/{task['lease']}"
    try:
        with HeartBeat(lease, task["lease-ms"]):
            result = work(task)
    except Exception as error:  # whatever goes wrong with one task is its own
        post(f"{lease}/failed", str(error).encode())
    else:
        post(f"{lease}/done", result)


def main(queue, instances):
    while True:
        for instance in instances:
            try:
                turn(instance, queue)
            except OSError as error:
                print(f"{instance}: {error}", file=sys.stderr, flush=True)
                time.sleep(0.2)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
