"""What a running stack keeps closed: addresses, files and servers."""

import httpx
import psutil
import pytest
import redis
from sqlalchemy import make_url

from tests.running import RunningStack


def test_servers_listen_on_loopback_alone(stack: RunningStack) -> None:
    addresses = {
        listening.laddr.ip
        for process in stack.state.processes
        if process.pid is not None
        for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for listening in one.net_connections("inet")
        if listening.status == psutil.CONN_LISTEN
    }

    assert addresses == {"127.0.0.1"}


def test_the_api_does_not_say_what_serves_it(stack: RunningStack) -> None:
    assert httpx.get(f"{stack.url}/health/live").headers["server"] == "torchqueue"


@pytest.mark.parametrize("name", ["admin.key", "stack.env", "flower.password", "valkey/password", "valkey/valkey.conf"])
def test_files_with_secrets_are_their_owners_alone(stack: RunningStack, name: str) -> None:
    assert (stack.var_dir / name).stat().st_mode & 0o077 == 0


def test_valkey_takes_a_password(stack: RunningStack) -> None:
    address = make_url(stack.settings["TORCHQUEUE_REDIS_URL"])
    with redis.Redis(host=address.host or "", port=address.port or 0) as client, pytest.raises(redis.RedisError):
        client.ping()
