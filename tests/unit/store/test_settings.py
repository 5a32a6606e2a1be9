"""`store.settings`: the environment of a process."""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from schemas.enums import DecodePlace
from store.addresses import OutwardRules
from store.errors import SettingsError
from store.settings import Settings


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHQUEUE_DATABASE_URL", "postgresql+psycopg2://db/torchqueue")
    monkeypatch.setenv("TORCHQUEUE_REDIS_URL", "redis://cache:6379/0")
    monkeypatch.setenv("TORCHQUEUE_VAR", str(tmp_path))


def test_addresses_come_from_the_environment() -> None:
    settings = Settings.from_env()

    assert settings.database_url == "postgresql+psycopg2://db/torchqueue"
    assert settings.redis_url == "redis://cache:6379/0"


def test_objects_lie_in_the_var_folder_by_default(tmp_path: Path) -> None:
    assert Settings.from_env().object_url == f"file://{tmp_path}/objects"


def test_limits_have_defaults() -> None:
    settings = Settings.from_env()

    assert (settings.max_body_bytes, settings.max_pixels) == (12 * 1024 * 1024, 25_000_000)
    assert settings.retention == timedelta(days=90)


def test_a_limit_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHQUEUE_RETENTION_DAYS", "7")

    assert Settings.from_env().retention == timedelta(days=7)


def test_a_device_has_a_share_of_its_memory_for_models_unless_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.from_env().device_memory_mb is None

    monkeypatch.setenv("TORCHQUEUE_DEVICE_MEMORY_MB", "2048")

    assert Settings.from_env().device_memory_mb == 2048


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "2GB"])
def test_a_memory_that_is_no_number_of_mebibytes_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TORCHQUEUE_DEVICE_MEMORY_MB", value)

    with pytest.raises(SettingsError, match="set a whole number of MiB, or leave it empty"):
        Settings.from_env()


def test_an_empty_memory_means_that_the_device_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHQUEUE_DEVICE_MEMORY_MB", "")

    assert Settings.from_env().device_memory_mb is None


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("true", True), ("0", False)])
def test_a_switch_can_be_set(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    monkeypatch.setenv("TORCHQUEUE_METRICS_PUBLIC", value)

    assert Settings.from_env().metrics_public is expected


@pytest.mark.parametrize("name", ["TORCHQUEUE_DATABASE_URL", "TORCHQUEUE_REDIS_URL"])
def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)

    with pytest.raises(SettingsError, match=name):
        Settings.from_env()


@pytest.mark.parametrize(
    "name",
    [
        "TORCHQUEUE_MAX_BODY_BYTES",
        "TORCHQUEUE_MAX_UPLOAD_BYTES",
        "TORCHQUEUE_MAX_PIXELS",
        "TORCHQUEUE_DEVICE_MEMORY_MB",
        "TORCHQUEUE_RETENTION_DAYS",
        "TORCHQUEUE_WEB_THREADS",
        "TORCHQUEUE_COMPUTE_THREADS",
        "TORCHQUEUE_FLOWER_PORT",
        "TORCHQUEUE_METRICS_PUBLIC",
        "TORCHQUEUE_LOG_LEVEL",
    ],
)
def test_a_malformed_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "many")

    with pytest.raises(SettingsError, match=name):
        Settings.from_env()


def test_less_than_one_thread_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHQUEUE_COMPUTE_THREADS", "0")

    with pytest.raises(SettingsError, match="TORCHQUEUE_COMPUTE_THREADS"):
        Settings.from_env()


def test_strangers_urls_lead_to_the_public_internet_unless_the_operator_says_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Settings.from_env().outward == OutwardRules()
    monkeypatch.setenv("TORCHQUEUE_OUTWARD_NETWORKS", "10.1.0.0/16, fd00::/8")
    monkeypatch.setenv("TORCHQUEUE_OUTWARD_PORTS", "8080")

    networks = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    assert Settings.from_env().outward == OutwardRules(networks=networks, ports=frozenset({8080}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OUTWARD_NETWORKS", "10.1.2.3/16"),
        ("OUTWARD_NETWORKS", "inside"),
        ("OUTWARD_PORTS", "0"),
        ("OUTWARD_PORTS", "a"),
    ],
)
def test_what_is_no_network_and_no_port_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"TORCHQUEUE_{name}", value)

    with pytest.raises(SettingsError, match=name):
        Settings.from_env()


def test_pictures_are_decoded_in_the_sandbox_unless_the_operator_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Settings.from_env().decode is DecodePlace.SANDBOX
    monkeypatch.setenv("TORCHQUEUE_DECODE", "threads")

    assert Settings.from_env().decode is DecodePlace.THREADS


def test_another_place_to_decode_in_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHQUEUE_DECODE", "elsewhere")

    with pytest.raises(SettingsError, match="sandbox or threads"):
        Settings.from_env()
