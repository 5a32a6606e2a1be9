"""Commands that ask the running API, over a real port."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from stack.announce import announce, curl_line, first_answer
from stack.client import ApiClient
from stack.errors import RequestRefusedError
from stack.plan import Plan
from stack.supervisor import Supervisor
from stack.up import Running
from store.settings import Settings
from tests.factories import DIAMOND
from tests.integration.stack.conftest import Torchqueue, assert_refused
from tests.running import SAMPLES

SANDAL = str(SAMPLES / "sandal-01.png")
BAG = str(SAMPLES / "bag-02.jpg")


@pytest.mark.usefixtures("running")
def test_a_photo_is_answered_by_its_label(torchqueue: Torchqueue) -> None:
    lines = torchqueue("predict", SANDAL).output.splitlines()

    assert "Sandal" in lines[-1]


@pytest.mark.usefixtures("running")
def test_several_photos_are_answered_in_their_order(torchqueue: Torchqueue) -> None:
    answers = json.loads(torchqueue("predict", SANDAL, BAG, "--json").output)

    assert [answer["prediction"]["result"]["label"] for answer in answers] == ["Sandal", "Bag"]


@pytest.mark.usefixtures("running")
def test_an_answer_is_waited_for_while_a_worker_loads_its_model(
    torchqueue: Torchqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    wishes: list[str] = []
    request = httpx.Client.request

    def listen(client: httpx.Client, *words: Any, **options: Any) -> httpx.Response:
        wishes.append(options["headers"]["Prefer"])
        return request(client, *words, **options)

    monkeypatch.setattr(httpx.Client, "request", listen)
    torchqueue("predict", SANDAL)

    assert wishes == ["wait=60"]


def test_numbers_in_a_file_are_answered(torchqueue: Torchqueue, running: Path) -> None:
    file = running / "numbers.json"
    file.write_text('{"input": [0, 1]}')

    [answer] = json.loads(torchqueue("predict", "--model=xor", "--json", str(file)).output)

    assert answer["prediction"]["result"]["label"] == "1"


def test_a_diamond_in_a_file_is_answered_by_its_price_and_interval(
    torchqueue: Torchqueue, running: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A short name, so that the answer fits its line.
    monkeypatch.chdir(running)
    Path("diamond.json").write_text(json.dumps({"input": DIAMOND}))

    last = torchqueue("predict", "--model=diamond-price", "diamond.json").output.splitlines()[-1]

    assert re.search(r"diamond\.json +2,\d{3}\.0 \(2,\d{3}\.0 to 2,\d{3}\.0\) USD ", last)


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--model=nope", SANDAL], r"there is no model 'nope'; .* \(unknown-model\)"),
        ([str(SAMPLES / "README.md")], r"is no JPEG, PNG or WebP picture \(invalid-input\)"),
        (["--model=xor", SANDAL], r"model 'xor' takes .* \(unsupported-media-type\)"),
    ],
)
def test_a_refusal_is_the_problems_sentence(torchqueue: Torchqueue, words: list[str], line: str) -> None:
    assert_refused(torchqueue("predict", *words), line)


def test_a_folder_without_key_is_told_so_by_the_api(torchqueue: Torchqueue, running: Path) -> None:
    (running / "admin.key").unlink()

    assert_refused(torchqueue("predict", SANDAL), r"send your API key as .*")


@pytest.mark.usefixtures("running")
def test_the_status_shows_processes_and_the_last_minute(torchqueue: Torchqueue) -> None:
    torchqueue("predict", SANDAL)

    output = torchqueue("status").output

    assert "web" in output
    assert "fashion/1" in output


@pytest.mark.usefixtures("running")
def test_the_status_is_told_to_programs(torchqueue: Torchqueue) -> None:
    status = json.loads(torchqueue("status", "--json").output)

    assert status["stack"]["processes"][0]["name"] == "web"
    assert set(status) == {"stack", "queues", "stats", "workers"}


def test_an_announcement_ends_with_a_first_answer_and_how_to_ask(
    announced: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    announce(announced, first_answer(announced.plan.settings.var_dir))

    output = capsys.readouterr().out
    assert "sandal-01.png is a Sandal" in output
    assert curl_line(announced.plan.url, announced.admin_key_file) in output
    assert output.endswith("ready. Ctrl-C stops it.\n")


def test_an_announcement_tells_why_there_is_no_first_answer(
    announced: Running,
) -> None:
    announced.admin_key_file.write_text("wrong")

    assert "was not answered: this is not an API key" in first_answer(announced.plan.settings.var_dir)


@pytest.fixture
def announced(running: Path, settings: Settings) -> Running:
    """A stack that is up."""
    plan = Plan(settings=replace(settings, var_dir=running), host="127.0.0.1", port=8000)
    supervisor = Supervisor(running, print)
    return Running(plan=plan, admin_key_file=running / "admin.key", imported=["xor"], supervisor=supervisor, later=[])


def test_a_resource_that_is_refused_is_an_error(running: Path) -> None:
    with ApiClient(running) as client, pytest.raises(RequestRefusedError, match="unknown-model"):
        client.get("/v1/models/nope")
