"""A real HTTP server of chat completions on this machine, with faults that a test schedules."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Request = dict[str, Any]
"""The JSON body of a request for a chat completion."""
Fault = Callable[[BaseHTTPRequestHandler], None]
"""Sends a faulty response."""


class ChatServer:
    """Responds with the content and finish_reason that `answer` returns.

    A prompt in `faults` gets the listed faults first, one for each attempt.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.keys: list[str | None] = []
        """The Authorization header of each request."""
        self.headers: list[dict[str, str]] = []
        """The headers of each request, by their names in lower case."""
        self.queries: list[str] = []
        self.answer: Callable[[Request], tuple[str, str | None]] = answer
        self.faults: dict[str, list[Fault]] = {}
        self.close_after_response = False
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # A killed client is no error.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def request_counts(self) -> Counter[tuple[str, int]]:
        """Number of requests for each prompt and seed."""
        return Counter((problem(request), request["seed"]) for request in self.requests)

    def hang(self, handler: BaseHTTPRequestHandler) -> None:
        """Send nothing until the server stops."""
        self.closing.wait()
        handler.close_connection = True

    def stop(self) -> None:
        if not self.closing.is_set():
            self.closing.set()
            self._server.shutdown()
            self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        chat_server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with chat_server._lock:
                    chat_server.requests.append(request)
                    chat_server.keys.append(self.headers["Authorization"])
                    chat_server.headers.append({k.lower(): v for k, v in self.headers.items()})
                    path, _, query = self.path.partition("?")
                    chat_server.queries.append(query)
                    faults = chat_server.faults.get(problem(request))
                    fault = faults.pop(0) if faults else None
                if path != "/v1/chat/completions":
                    fault = status(404, {"detail": "Not Found"})
                if fault:
                    return fault(self)
                content, reason = chat_server.answer(request)
                choice = {"index": 0, "finish_reason": reason, "message": {"content": content}}
                usage = {"completion_tokens": len(content.split()) + 1 if content else 1}
                send(self, 200, json.dumps({"choices": [choice], "usage": usage}).encode())
                self.close_connection |= chat_server.closing.is_set() or chat_server.close_after_response

            def log_message(self, *_: object) -> None: ...

        return Handler


def problem(request: Request) -> str:
    """The problem's text, which is the last turn of the conversation."""
    return str(request["messages"][-1]["content"])


def answer(request: Request) -> tuple[str, str]:
    """Content and finish_reason; the same for the same problem and seed."""
    return f"{problem(request)} by {request['seed']}", "stop"


def send(handler: BaseHTTPRequestHandler, code: int, content: bytes, **headers: str) -> None:
    handler.send_response(code)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def status(code: int, error: Any, **headers: str) -> Fault:
    """An HTTP error with the JSON body `error`."""
    return lambda handler: send(handler, code, json.dumps(error).encode(), **headers)


def body(content: bytes) -> Fault:
    """HTTP 200 with the body `content`."""
    return lambda handler: send(handler, 200, content)


def raw(code: int, content: bytes, **headers: str) -> Fault:
    """A response of this status and body."""
    return lambda handler: send(handler, code, content, **headers)


def events(*chunks: Any, end: str = "data: [DONE]\n\n") -> Fault:
    """A complete stream of server-sent events, each with a JSON object."""
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + end
    return raw(200, body.encode(), Content_Type="text/event-stream")


def cut_short(handler: BaseHTTPRequestHandler) -> None:
    """Send only a part of the body that Content-Length announces."""
    handler.send_response(200)
    handler.send_header("Content-Length", "400")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"finish_reason": "stop", "message": {"content": "4')
    handler.close_connection = True


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Reset the connection without a response."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(handler.connection.detach())
    handler.close_connection = True


class Faults:
    """The faults by name, for tests that take them from the fixture `faults`."""

    status = staticmethod(status)
    body = staticmethod(body)
    raw = staticmethod(raw)
    events = staticmethod(events)
    cut_short = staticmethod(cut_short)
    reset = staticmethod(reset)
