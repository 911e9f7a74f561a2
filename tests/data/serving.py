"""A server of public files for tests: on this machine, in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server:
    """Serves ``content`` by name; what is in ``cut`` breaks off half way, so many times.

    ``busy`` has the replies that are given first, by name, each once.
    """

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.busy: dict[str, list[int]] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                outer.asked.append(name)
                if name not in outer.content:
                    self.send_error(404)
                    return
                if outer.busy.get(name):
                    self.send_error(outer.busy[name].pop(0))
                    return
                body = outer.content[name]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if outer.cut.get(name, 0) > 0:
                    outer.cut[name] -= 1
                    body = body[: len(body) // 2]
                    self.close_connection = True
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"


@contextmanager
def serving() -> Iterator[Server]:
    """A server that runs until the end of the block."""
    one = Server()
    thread = threading.Thread(target=one.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield one
    finally:
        one.http.shutdown()
        thread.join()
        one.http.server_close()
