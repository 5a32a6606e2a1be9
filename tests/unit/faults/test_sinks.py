"""`tests.sinks`: what a receiver of webhooks remembers."""

import socket

import httpx

from tests.running import wait_until
from tests.sinks import running_sink


def test_a_request_whose_sender_died_over_it_was_not_received() -> None:
    with running_sink() as sink:
        with socket.create_connection(("127.0.0.1", sink.port)) as sender:
            sender.sendall(b"POST /told HTTP/1.1\r\nHost: sink\r\nContent-Length: 10\r\n\r\nhalf")
        httpx.post(f"{sink.url}/told", content=b"all of it.")
        wait_until(lambda: bool(sink.at("/told")))

        assert [each.body for each in sink.take_all()] == [b"all of it."]
