import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from schemas.enums import WorkerRole
from schemas.names import QueueName
from stack.cli import main
from stack.embedded import POSTGRES_SETTINGS
from tasks.worker import MODULES
from tests.unit.deploy.compose_file import ComposeFile, Service, worker_role

PROFILES = ("gpu", "cpu")

LEAST_DRAIN_S = 60


def queues_of(role: WorkerRole) -> set[QueueName]:
    """What the worker of a role says that it consumes, read from its source: importing it would load torch."""
    spec = find_spec(MODULES[role])
    assert spec is not None
    assert spec.origin is not None
    lists = re.findall(r"queues ?= ?\[(.*)\]", Path(spec.origin).read_text())
    return {QueueName[name] for name in re.findall(r"QueueName\.(\w+)", " ".join(lists))}


def seconds(duration: str) -> int:
    assert duration.endswith("s")
    return int(duration[:-1])


def one_shots(compose: ComposeFile) -> set[str]:
    """Services that others wait to see finished."""
    waits = (wait for service in compose.services.values() for wait in service.get("depends_on", {}).items())
    return {name for name, wait in waits if wait["condition"] == "service_completed_successfully"}


def our_commands(compose: ComposeFile) -> list[list[str]]:
    """Every command line of ours: what the services run, and how they ask for their health."""
    checks = (service.get("healthcheck", {}).get("test", []) for service in compose.ours.values())
    return [s["command"] for s in compose.ours.values()] + [test[2:] for test in checks if "torchqueue" in test]


def test_the_file_follows_the_compose_specification(root: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, root / "docker-compose.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("profile", PROFILES)
def test_every_queue_is_consumed(compose: ComposeFile, profile: str) -> None:
    services = [service for service in compose.started_with(profile) if service in compose.ours.values()]
    roles = {role for role in map(worker_role, services) if role is not None}
    assert set.union(*map(queues_of, roles)) == set(QueueName)


def test_every_command_of_ours_exists_and_takes_its_arguments(compose: ComposeFile) -> None:
    for name, *arguments in our_commands(compose):
        command = main.get_command(click.Context(main), name)
        assert command is not None
        command.make_context(name, list(arguments)).close()


@pytest.mark.parametrize("profile", PROFILES)
def test_no_two_workers_share_a_device(compose: ComposeFile, profile: str) -> None:
    options = [part for s in compose.started_with(profile) for part in s.get("command", []) if "--device" in part]
    assert len(options) == len(set(options)) > 0


def test_workers_on_a_gpu_reserve_one(compose: ComposeFile) -> None:
    for service in compose.services.values():
        if any("cuda" in part for part in service["command"]):
            (device,) = service["deploy"]["resources"]["reservations"]["devices"]
            assert device["capabilities"] == ["gpu"]


def test_the_second_gpu_of_the_comment_is_a_worker_of_its_own(root: Path) -> None:
    text = (root / "docker-compose.yml").read_text()
    example = ComposeFile(re.sub(r"^  # (?=worker-gpu-1:|  \S)", "  ", text, flags=re.MULTILINE))
    worker = example.services["worker-gpu-1"]
    assert worker["command"] == ["worker", "inference", "--device=cuda:1"]
    assert worker["deploy"] == example.services["worker-gpu-0"]["deploy"]


def test_every_service_that_stays_has_a_health_check(compose: ComposeFile) -> None:
    without = {name for name, service in compose.services.items() if "healthcheck" not in service}
    assert without == one_shots(compose)


def test_all_of_ours_wait_for_the_migration(compose: ComposeFile) -> None:
    waiting = {name for name, service in compose.ours.items() if "migrate" in service["depends_on"]}
    assert waiting == set(compose.ours) - {"migrate"}


def test_workers_may_drain_for_a_minute(compose: ComposeFile) -> None:
    for service in compose.ours.values():
        if worker_role(service):
            assert seconds(service["stop_grace_period"]) >= LEAST_DRAIN_S


def test_ports_are_open_to_this_machine_alone(compose: ComposeFile) -> None:
    ports = [port for service in compose.services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_no_service_may_write_to_its_image(compose: ComposeFile) -> None:
    assert all(service["read_only"] for service in compose.services.values())


def runs_as_root(service: Service) -> bool:
    return str(service.get("user", "root")).partition(":")[0] in ("root", "0")


def test_no_service_runs_as_root(compose: ComposeFile, image_user: str) -> None:
    assert not runs_as_root({"user": image_user})
    for service in compose.services.values():
        assert not runs_as_root({"user": image_user, **service} if service in compose.ours.values() else service)


def test_postgres_has_the_settings_of_the_embedded_one(compose: ComposeFile) -> None:
    shared = {name: value for name, value in POSTGRES_SETTINGS.items() if name != "listen_addresses"}
    assert compose.services["postgres"]["command"] == ["postgres", *(f"-c{n}={v}" for n, v in shared.items())]


def test_valkey_refuses_rather_than_evicts(compose: ComposeFile) -> None:
    assert "maxmemory-policy noeviction" in compose.services["valkey"]["command"][-1]


def test_the_password_of_valkey_is_no_argument(compose: ComposeFile) -> None:
    assert "requirepass $$VALKEY_PASSWORD" in compose.services["valkey"]["command"][-1]
