#!/usr/bin/env python3
"""Writes mutations into the log over HTTP, and tells what has become of them. Python 3, nothing else.

    WAL_TOKEN=… python3 put.py [--delay 30s] http://127.0.0.1:9464 NAMESPACE KEY=VALUE [KEY=VALUE …]

The token is the instances' `http.token`. How to be sure of a write:

* Give each mutation a token of its own, and the time at which it was made, before it is sent for the first time.
* `succeeded`: it is in the log, and will be applied. `failed`: it is certainly not.
* Everything else is unknown, no answer at all too: send it again, with the same token and time. The log does nothing twice.
"""

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

TOKEN = os.environ["WAL_TOKEN"]
PATIENCE = 60  # seconds for one answer: longer than the instances' own
TRIES = 60


def ask(method, url, body=None):
    """Status, headers and body of the answer; without one it is as if the instance had said 503."""
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read()
        try:
            return error.code, error.headers, json.loads(text)
        except ValueError:
            return error.code, error.headers, {"error": text.decode(errors="replace")}
    except (OSError, ValueError) as error:  # the connection, or half an answer
        return 503, {}, {"error": str(error)}


def rest(headers):
    time.sleep(float(headers.get("retry-after") or 1))


def write(instance, namespace, mutations):
    """Writes all of them, again and again until each has succeeded or can't; those that can't are given back with the reason."""
    refused = {}
    for _ in range(TRIES):
        status, headers, answers = ask("POST", f"{instance}/v1/{namespace}/log", mutations)
        if status in (400, 401, 403, 404, 413, 415) and isinstance(answers, dict):
            sys.exit(f"{status}: {answers['error']}")  # nothing of it can be taken
        if isinstance(answers, list):
            again = []
            for mutation, answer in zip(mutations, answers):
                print(f"{mutation['token']} {answer['durable']} {answer.get('reason', '')}".rstrip(), flush=True)
                if answer["durable"] == "failed" and status in (207, 400, 413):
                    # In a mixture what has failed may be a matter of the moment; here it is not tried again.
                    refused[mutation["token"]] = answer["reason"]
                elif answer["durable"] != "succeeded":
                    again.append(mutation)
            mutations = again
        else:
            print(f"{status}: {answers.get('error')}", file=sys.stderr, flush=True)
        if not mutations:
            return refused
        rest(headers)
    sys.exit(f"not known to be written: {', '.join(mutation['token'] for mutation in mutations)}")


def fate(instance, namespace, token):
    """What has become of it at each target, once the log has come to it."""
    for _ in range(TRIES):
        status, headers, answer = ask("GET", f"{instance}/v1/{namespace}/status/{urllib.parse.quote(token, safe='')}")
        if status == 200:
            return ", ".join(f"{target['target']} {target['state']}" for target in answer["targets"])
        rest(headers)
    return f"{status}: {answer.get('error')}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--delay", help="not before so long from now, such as 30s")
    arguments.add_argument("instance")
    arguments.add_argument("namespace")
    arguments.add_argument("pairs", nargs="+", metavar="KEY=VALUE")
    given = arguments.parse_args()
    mutations = []
    for pair in given.pairs:
        key, _, value = pair.partition("=")
        mutation = {"token": str(uuid.uuid4()), "created_at": int(time.time() * 1000), "key": key, "text": value}
        if given.delay:
            mutation["delay"] = given.delay
        mutations.append(mutation)
    refused = write(given.instance, given.namespace, mutations)
    for mutation in mutations:
        if mutation["token"] not in refused:
            print(f"{mutation['token']} {fate(given.instance, given.namespace, mutation['token'])}", flush=True)
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
