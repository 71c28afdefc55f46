#!/usr/bin/env python3
"""A handler that is called: `queues.mail.push = "http://127.0.0.1:8000/"` posts each task here, and the answer is its outcome.

    python3 handler.py [PORT]

2xx: done, and the body is the result. 408, 425, 429, 5xx: not now, another attempt follows. Any other: never.
The same attempt may come twice, if who calls is killed in between: what has an effect outside needs `task-id` as its key.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class NotNow(Exception):
    """Another attempt may help."""


class Never(Exception):
    """No attempt can."""


def fast(payload, attempt):
    return b"sent " + payload


def flaky(payload, attempt):
    """As a mail server that is away for a moment."""
    if attempt < 3:
        raise NotNow("the mail server is away")
    return b"sent " + payload


def broken(payload, attempt):
    raise Never("no such address")


KINDS = {"fast": fast, "scheduled": fast, "flaky": flaky, "broken": broken}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # who calls keeps its connections

    def do_POST(self):
        payload = self.rfile.read(int(self.headers["content-length"] or 0))
        kind, attempt = self.headers["task-kind"], int(self.headers["task-attempt"])
        try:
            if kind not in KINDS:
                raise Never(f"nobody here does {kind!r}")
            self.answer(200, KINDS[kind](payload, attempt))
        except NotNow as reason:
            self.answer(503, str(reason).encode())
        except Never as reason:
            self.answer(422, str(reason).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """A line for each task would be too much."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # as many may call at once


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), Handler).serve_forever()
