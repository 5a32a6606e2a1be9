"""`benchmarks.wrk`: what wrk is told and what it prints."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import pytest

from benchmarks.wrk import Load, WrkOutputError, parse_report, send_load, write_script

REPORT = """
Running 10s test @ http://127.0.0.1:8000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    42.10ms   12.00ms 105.00ms   70.00%
    Req/Sec     1.52k   120.00     1.80k    70.00%
  Latency Distribution
     50%  937.00us
     75%   50.00ms
     90%   60.00ms
     99%    1.05s
  15210 requests in 10.00s, 9.51MB read
"""
TAIL = "Requests/sec:   1520.99\nTransfer/sec:      0.95MB\n"


def test_rate_and_percentiles_are_read_in_milliseconds() -> None:
    assert parse_report(REPORT + TAIL, 64) == Load(
        connections=64, requests=15210, per_second=1520.99, p50_ms=0.937, p99_ms=1050.0, failures=0
    )


def test_refusals_and_broken_connections_are_failures() -> None:
    trouble = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 100\n"

    assert parse_report(REPORT + trouble + TAIL, 64).failures == 110


def test_failures_do_not_count_as_served() -> None:
    load = Load(connections=1, requests=100, per_second=50.0, p50_ms=1, p99_ms=1, failures=40)

    assert load.good_per_second == pytest.approx(30.0)


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(WrkOutputError, match="unable to connect"):
        parse_report("unable to connect to 127.0.0.1:1 Connection refused", 1)


def test_a_script_sends_its_files_in_turn_with_their_headers(tmp_path: Path) -> None:
    bodies = [tmp_path / "zero", tmp_path / "one"]
    for body, content in zip(bodies, [b"\x00\xff\r\n", b"{}"], strict=True):
        body.write_bytes(content)
    script = write_script(tmp_path / "load.lua", bodies, {"X-Key": 'a "quoted" one'})
    with _Recorder() as server:
        load = send_load(server.url, script, connections=1, seconds=1)

    # wrk makes the first request itself, to see what the script does.
    assert server.seen[:4] == [(b"{}", 'a "quoted" one'), (b"\x00\xff\r\n", 'a "quoted" one')] * 2
    assert load.failures == 0
    assert load.requests > 0


def test_a_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"")
    script = write_script(tmp_path / "load.lua", [tmp_path / "body"], {})
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))

        with pytest.raises(WrkOutputError):
            send_load(f"http://127.0.0.1:{unused.getsockname()[1]}", script, connections=1, seconds=1)


class _Recorder:
    """A server that keeps the bodies it is sent."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, str | None]] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                recorder.seen.append((body, self.headers["X-Key"]))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
