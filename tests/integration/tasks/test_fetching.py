"""`tasks.fetching`: pictures that requests name by their URL, from a real server into real rows."""

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from uuid import UUID

import pytest
import redis
from PIL import Image
from sqlalchemy import Engine as Database
from sqlalchemy import text

from schemas.enums import ErrorCode, WorkerRole
from store import ledger
from store.addresses import OutwardRules
from store.fetches import FetchClaim, claim_fetches, note_arrival, release_fetch
from store.models import ServedVersion
from store.objects import ObjectStore
from store.outward import OutwardClient
from store.settings import Settings
from store.workers import register_worker
from tasks import fetching
from tasks.doorbell import Doorbell
from tasks.fetching import MAX_ATTEMPTS, Fetcher
from tasks.life import WorkerLife
from tests.factories import Rows
from tests.integration.tasks.conftest import make_life
from tests.outside import Outside, drip, reply, running_outside
from tests.running import SAMPLES, wait_until

PHOTO = (SAMPLES / "sandal-01.png").read_bytes()


@pytest.fixture
def outside() -> Iterator[Outside]:
    with running_outside() as outside:
        yield outside


@pytest.fixture
def rows(committed: Rows, fashion: ServedVersion) -> Rows:
    """Rows of a model that takes pictures."""
    return Rows(committed.connection, fashion)


@pytest.fixture
def fetch_life(database: Database, committed: Rows) -> Iterator[WorkerLife]:  # noqa: ARG001 - removes what it commits
    life = make_life(database, role=WorkerRole.FETCH, queue="fetch", name="fetch@here")
    life.begin()
    yield life
    life.end()


@pytest.fixture
def fetcher(
    outside: Outside,
    fetch_life: WorkerLife,
    database: Database,
    objects: ObjectStore,
    settings: Settings,
    valkey: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Fetcher]:
    """A fetcher that is allowed to go to the stranger's server, and in no mood to wait."""
    monkeypatch.setattr(fetching, "BACKOFF_S", 0.02)
    monkeypatch.setattr(fetching, "POLL_S", 0.02)
    fetcher = Fetcher(
        client=OutwardClient(outside.rules),
        database=database,
        objects=objects,
        life=fetch_life,
        replies=valkey,
        doorbell=Doorbell(settings.redis_url),
        max_bytes=100_000,
        max_pixels=1_000_000,
    )
    fetcher.start()
    yield fetcher
    fetcher.close()


def is_over(rows: Rows, prediction_id: UUID) -> bool:
    """Whether nothing is to be fetched for it any more."""
    left = text("SELECT count(*) FROM fetches WHERE prediction_id = :id")
    return not rows.connection.execute(left, {"id": prediction_id}).scalar_one()


def add_and_wait(rows: Rows, url: str, **changes: object) -> UUID:
    """Submit one with a URL and wait until its fetch is over."""
    prediction_id = rows.add(input=None, image_url=url, **changes)
    wait_until(lambda: is_over(rows, prediction_id))
    return prediction_id


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def error(rows: Rows, prediction_id: UUID) -> tuple[str, str, str]:
    row = rows.get(prediction_id)
    return row.status, row.error_code, row.error_detail


def test_no_worker_claims_a_row_before_its_picture_is_there(rows: Rows) -> None:
    rows.add(input=None, image_url="http://shop.example/a.jpg")

    assert rows.claim() == []


@pytest.mark.usefixtures("fetcher")
def test_a_row_whose_picture_is_fetched_is_claimed_with_it(rows: Rows, outside: Outside, objects: ObjectStore) -> None:
    prediction_id = add_and_wait(rows, outside.serve("/a.png", PHOTO))

    [claim] = rows.claim()
    assert (claim.id, objects.get(str(claim.input_sha256))) == (prediction_id, PHOTO)


@pytest.mark.usefixtures("fetcher")
def test_a_redirect_is_followed(rows: Rows, outside: Outside) -> None:
    outside.serve("/b.png", PHOTO)
    url = outside.answer("/a.png", lambda handler: reply(handler, 302, Location="/b.png"))

    assert rows.status(add_and_wait(rows, url)) == "queued"
    assert outside.seen == ["/a.png", "/b.png"]


@pytest.mark.usefixtures("fetcher")
def test_what_is_fetched_is_judged_by_its_bytes(rows: Rows, outside: Outside) -> None:
    url = outside.serve("/a.jpg", b"<html>no picture</html>", Content_Type="image/jpeg")

    status, code, detail = error(rows, add_and_wait(rows, url))
    assert (status, code) == ("failed", ErrorCode.INVALID_INPUT)
    assert detail == "image_url: what it leads to is no JPEG, PNG or WebP picture"


@pytest.mark.usefixtures("fetcher")
def test_a_picture_beyond_the_limit_of_pixels_is_refused(rows: Rows, outside: Outside) -> None:
    url = outside.serve("/a.png", encoded(Image.new("1", (2000, 1000))))

    assert error(rows, add_and_wait(rows, url))[1] == ErrorCode.INVALID_INPUT


@pytest.mark.usefixtures("fetcher")
@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_an_answer_that_will_stay_fails_at_once(rows: Rows, outside: Outside, status: int) -> None:
    url = outside.answer("/a.png", lambda handler: reply(handler, status))

    found = error(rows, add_and_wait(rows, url))
    assert found == ("failed", ErrorCode.FETCH_FAILED, f"image_url answers {status}")
    assert len(outside.seen) == 1


@pytest.mark.usefixtures("fetcher")
def test_an_answer_that_may_pass_is_asked_again(rows: Rows, outside: Outside) -> None:
    answers = iter([503, 429, 200])

    def answer(handler: BaseHTTPRequestHandler) -> None:
        status = next(answers)
        reply(handler, status, PHOTO if status == 200 else b"")

    assert rows.status(add_and_wait(rows, outside.answer("/a.png", answer))) == "queued"
    assert len(outside.seen) == 3


@pytest.mark.usefixtures("fetcher")
def test_what_never_passes_fails_after_some_attempts(rows: Rows, outside: Outside) -> None:
    url = outside.answer("/a.png", lambda handler: reply(handler, 503))

    found = error(rows, add_and_wait(rows, url))
    assert found == ("failed", ErrorCode.FETCH_FAILED, f"image_url answers 503; tried {MAX_ATTEMPTS} times")


@pytest.mark.usefixtures("fetcher")
def test_a_file_beyond_the_limit_of_bytes_is_not_read_to_its_end(rows: Rows, outside: Outside) -> None:
    url = outside.serve("/a.png", bytes(100_001))

    assert error(rows, add_and_wait(rows, url))[2] == "image_url answers with more than 100000 bytes"


@pytest.mark.usefixtures("fetcher")
def test_a_host_that_drips_is_given_up_at_the_deadline(rows: Rows, outside: Outside) -> None:
    url = outside.answer("/a.png", lambda handler: drip(handler, PHOTO, 0.2))

    found = error(rows, add_and_wait(rows, url, deadline_ms=1500))
    assert found[:2] == ("failed", ErrorCode.FETCH_FAILED)


def test_a_private_address_is_never_asked_and_not_told_apart_from_an_unknown_name(
    fetcher: Fetcher, rows: Rows, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher._client.names, "_rules", OutwardRules())

    private = error(rows, add_and_wait(rows, outside.url("/a.png")))
    unknown = error(rows, add_and_wait(rows, "http://no-such-name.invalid/a.png"))
    assert private == unknown == ("failed", "fetch_failed", "image_url leads to no address of the public internet")
    assert outside.connections == 0


def test_a_cancelled_prediction_is_fetched_no_more(fetcher: Fetcher, rows: Rows, outside: Outside) -> None:
    fetcher.stop()
    prediction_id = rows.add(input=None, image_url=outside.serve("/a.png", PHOTO))
    ledger.cancel(rows.connection, prediction_id)
    fetcher._stopping.clear()

    fetcher.take()
    wait_until(lambda: is_over(rows, prediction_id))
    assert (outside.seen, rows.status(prediction_id)) == ([], "canceled")


def test_a_slow_host_keeps_nobody_who_waits_for_another(fetcher: Fetcher, rows: Rows, outside: Outside) -> None:
    released = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        released.wait(10)
        reply(handler, 404)

    slow = outside.answer("/slow.png", answer)
    with running_outside() as quick:
        fetcher._client.rules = OutwardRules(ports=frozenset({outside.port, quick.port}))
        rows.add_many(40, input=None, image_url=slow)
        try:
            prediction_id = add_and_wait(rows, quick.serve("/a.png", PHOTO))
        finally:
            released.set()
    assert rows.status(prediction_id) == "queued"


def test_a_repeat_of_a_request_fetches_nothing_again(rows: Rows) -> None:
    for _ in range(2):
        rows.add(input=None, image_url="http://shop.example/a.jpg", idempotency_key="same", request_sha256="0" * 64)

    assert rows.connection.execute(text("SELECT count(*) FROM fetches")).scalar_one() == 1


def claim(rows: Rows, worker_id: int) -> list[FetchClaim]:
    return claim_fetches(rows.connection, worker_id=worker_id, limit=10)


def life_of(rows: Rows, pid: int) -> int:
    return register_worker(
        rows.connection, name="fetch", role=WorkerRole.FETCH, device="cpu:0", queue="fetch", host="elsewhere", pid=pid
    )


def test_what_a_fetcher_holds_nobody_else_claims(rows: Rows) -> None:
    rows.add(input=None, image_url="http://shop.example/a.jpg")

    assert len(claim(rows, life_of(rows, 1))) == 1
    assert claim(rows, life_of(rows, 2)) == []


def test_what_a_dead_fetcher_held_is_free_at_once(rows: Rows) -> None:
    rows.add(input=None, image_url="http://shop.example/a.jpg")
    claim(rows, life_of(rows, 1))
    ledger.release_dead_worker(rows.connection, host="elsewhere", pid=1)

    assert [each.attempt for each in claim(rows, life_of(rows, 2))] == [2]


def test_a_picture_that_comes_after_another_claim_changes_nothing(rows: Rows) -> None:
    prediction_id = rows.add(input=None, image_url="http://shop.example/a.jpg")
    [stale] = claim(rows, life_of(rows, 1))
    ledger.release_dead_worker(rows.connection, host="elsewhere", pid=1)
    claim(rows, life_of(rows, 2))

    assert note_arrival(rows.connection, stale, sha256="00" * 32, size=1) is None
    assert rows.get(prediction_id).input_sha256 is None


def test_a_released_claim_waits_for_its_delay(rows: Rows) -> None:
    rows.add(input=None, image_url="http://shop.example/a.jpg")
    [first] = claim(rows, life_of(rows, 1))

    release_fetch(rows.connection, first, delay_s=60)
    assert claim(rows, life_of(rows, 1)) == []


def test_an_attempt_that_tried_nothing_is_not_used_up(rows: Rows) -> None:
    rows.add(input=None, image_url="http://shop.example/a.jpg")
    [first] = claim(rows, life_of(rows, 1))

    release_fetch(rows.connection, first, delay_s=0, keep_attempt=True)
    assert [each.attempt for each in claim(rows, life_of(rows, 1))] == [1]
