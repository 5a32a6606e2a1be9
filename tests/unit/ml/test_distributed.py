"""`ml.distributed` in one process; `tests/integration/tasks` starts several and kills their launcher."""

import os

import pytest

from ml import distributed
from ml.distributed import LAUNCHER_VARIABLE, die_with_launcher


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the kernel would have been asked; it would kill the tests with whoever started them."""
    found: list[str] = []
    monkeypatch.setattr(distributed, "die_with_parent", lambda: found.append("die with parent"))
    return found


def test_a_process_without_a_launcher_outlives_whoever_started_it(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(LAUNCHER_VARIABLE, raising=False)

    die_with_launcher()

    assert asked == []


def test_a_process_dies_with_its_launcher(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAUNCHER_VARIABLE, str(os.getppid()))

    die_with_launcher()

    assert asked == ["die with parent"]


@pytest.mark.usefixtures("asked")
def test_a_launcher_that_was_gone_at_once_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAUNCHER_VARIABLE, str(os.getpid()))

    with pytest.raises(SystemExit):
        die_with_launcher()
