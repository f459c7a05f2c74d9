"""A proxy before the S3 server that answers chosen requests with errors, late, or cut short."""

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

Matches = Callable[[str, str], bool]
"""From method and path (with its query) to whether a request is meant."""


@dataclass
class Fault:
    """What happens to the next so many requests that match."""

    matches: Matches
    times: int = 10**9
    status: int = 0
    code: str = ""
    delay_s: float = 0.0
    cut: bool = False


@dataclass
class FaultyS3:
    """Forwards to the server, but for its faults; remembers what it was asked."""

    server_port: int
    faults: list[Fault] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Any key, also one that our own library would not write."""
        import boto3

        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{self.server_port}")
        client.put_object(Bucket=bucket, Key=key, Body=content)

    def fail(self, matches: Matches, **how) -> None:
        self.faults.append(Fault(matches, **how))

    def mend(self) -> None:
        self.faults.clear()
        self.asked.clear()

    def fault_of(self, method: str, path: str) -> Fault | None:
        self.asked.append((method, path))
        for fault in self.faults:
            if fault.times > 0 and fault.matches(method, path):
                fault.times -= 1
                return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyS3

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def _answer(self) -> None:
        body = self._body()
        fault = self.proxy.fault_of(self.command, unquote(self.path))
        if fault is not None and fault.delay_s:
            time.sleep(fault.delay_s)
        if fault is not None and fault.status:
            error = (
                f"<?xml version='1.0'?><Error><Code>{fault.code}</Code><Message>x</Message></Error>"
            )
            self._send(fault.status, {}, error.encode())
            return
        server = http.client.HTTPConnection("127.0.0.1", self.proxy.server_port, timeout=30)
        server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() != "expect":  # answered already
                server.putheader(name, value)
        server.endheaders(body or None)
        answer = server.getresponse()
        content = answer.read()
        server.close()
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in _OURS}
        if self.command == "HEAD":
            headers["Content-Length"] = answer.getheader("Content-Length") or "0"
        self._send(answer.status, headers, content, cut=fault is not None and fault.cut)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        lines = [self.rfile.readline()]  # with their framing, as they are passed on
        while size := int(lines[-1], 16):
            lines += [self.rfile.read(size), self.rfile.readline(), self.rfile.readline()]
        return b"".join([*lines, self.rfile.readline()])

    def _send(self, status: int, headers: dict, content: bytes, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = self.close_connection or cut

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer


_OURS = ("content-length", "connection", "transfer-encoding", "date", "server")
