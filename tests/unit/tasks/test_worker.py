"""The entry point of worker processes: which role on which device."""

import os
from collections.abc import Iterator
from unittest.mock import Mock, create_autospec

import pytest
import structlog

from ml.errors import DeviceError
from schemas.enums import WorkerRole
from tasks import maintenance_worker
from tasks.worker import MODULES, main


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCHQUEUE_DATABASE_URL", "postgresql+psycopg2://nowhere/none")
    monkeypatch.setenv("TORCHQUEUE_REDIS_URL", "redis://nowhere")
    # Set here so that it is restored: the entry point pins the device for its whole process.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """What a maintenance process would run."""
    run: Mock = create_autospec(maintenance_worker.run, spec_set=True)
    monkeypatch.setattr(maintenance_worker, "run", run)
    return run


def test_every_role_has_a_module() -> None:
    assert set(MODULES) == set(WorkerRole)


def test_a_worker_runs_its_role_on_its_device(run: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["worker", "maintenance", "--device=cpu:1"])

    main()

    [call] = run.call_args_list
    assert (call.args[0].redis_url, call.args[1]) == ("redis://nowhere", "cpu:1")


@pytest.mark.usefixtures("run")
def test_a_worker_on_the_cpu_sees_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr("sys.argv", ["worker", "maintenance"])

    main()

    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_an_unknown_role_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["worker", "janitor"])

    with pytest.raises(SystemExit):
        main()

    assert "invalid" in capsys.readouterr().err


def test_a_device_that_is_not_there_is_refused(run: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["worker", "maintenance", "--device=cuda:7"])

    with pytest.raises(DeviceError, match="no device cuda:7"):
        main()

    run.assert_not_called()
