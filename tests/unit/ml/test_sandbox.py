"""`ml.sandbox`: real processes, which really die."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from ml import sandbox
from ml.decoding import DecodePool
from ml.engine import Engine
from ml.errors import DecodeFailedError, InvalidInputError, NotReachedError
from ml.images import decode_picture
from ml.kinds import build_untrained
from ml.picture_source import decoding_in, read_picture
from ml.sandbox import Sandbox
from ml.sandbox_protocol import (
    Failure,
    Pixels,
    ProtocolError,
    read_answer,
    read_greeting,
    write_failure,
    write_pixels,
)
from ml.spec import ModelSpec
from ml.weights import dump_weights
from tests.running import SAMPLES, wait_until
from tests.unit.ml.conftest import EncodeImage

PHOTO = (SAMPLES / "sandal-02.jpg").read_bytes()
DRAWING = (SAMPLES / "sandal-01.png").read_bytes()

HOSTILE = "tests.unit.ml.hostile_child"


@pytest.fixture(scope="module")
def one() -> Iterator[Sandbox]:
    """A sandbox of one child."""
    made = Sandbox(1)
    yield made
    made.close()


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox whose decoder does as files tell it."""
    monkeypatch.setattr(sandbox, "MODULE", HOSTILE)
    made = Sandbox(1)
    yield made
    made.close()


def process_of(made: Sandbox) -> psutil.Process:
    child = made._slots[0].child
    assert child is not None
    return psutil.Process(child.pid)


def decode(made: Sandbox, data: bytes, **options: Any) -> np.ndarray[Any, Any]:
    with made.decoded(data, **{"target_px": 0} | options) as picture:
        return picture.pixels_hwc.copy()


@pytest.mark.parametrize(("data", "target_px"), [(PHOTO, 0), (PHOTO, 100), (DRAWING, 0)])
def test_it_decodes_what_this_process_would(one: Sandbox, data: bytes, target_px: int) -> None:
    with one.decoded(data, target_px=target_px) as picture:
        here = decode_picture(data, target_px=target_px or None)
        assert np.array_equal(picture.pixels_hwc, here.pixels_hwc)
        assert (picture.height, picture.width, picture.reduction) == (here.height, here.width, here.reduction)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_odd_modes_come_through(one: Sandbox, encode_image: EncodeImage, mode: str) -> None:
    pixels = np.arange(32 * 24 * 3, dtype=np.uint16).reshape(24, 32, 3)
    image = Image.fromarray(pixels[..., 0] * 100) if mode == "I;16" else Image.fromarray(pixels.astype(np.uint8))
    data = encode_image(image if mode == "I;16" else image.convert(mode), "PNG")

    assert np.array_equal(decode(one, data), decode_picture(data).pixels_hwc)


def test_a_file_at_fault_is_told_as_it_would_be_here(one: Sandbox) -> None:
    with pytest.raises(InvalidInputError, match="truncated"):
        decode(one, PHOTO[: len(PHOTO) // 2])


def test_a_file_beyond_the_limit_of_pixels_is_refused_before_it_is_decoded(one: Sandbox) -> None:
    with pytest.raises(InvalidInputError, match="megapixels"):
        decode(one, PHOTO, max_pixels=1000)


def test_a_file_larger_than_the_shared_memory_is_refused(one: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "INPUT_BYTES", 10)

    with pytest.raises(InvalidInputError, match="MiB"):
        decode(one, PHOTO)


def test_what_a_large_file_took_is_given_back(one: Sandbox, encode_image: EncodeImage) -> None:
    decode(one, encode_image(np.zeros((3000, 3000, 3), dtype=np.uint8), "PNG"))

    child = one._slots[0].child
    assert child is not None
    assert bytes(child._memory[: len(PHOTO)]) == bytes(len(PHOTO))


@pytest.mark.parametrize("deed", [b"SEGV", b"ABRT"])
def test_a_file_that_crashes_the_decoder_twice_is_refused_and_the_next_is_decoded(
    hostile: Sandbox, deed: bytes
) -> None:
    with pytest.raises(InvalidInputError, match="makes its decoder fail"):
        decode(hostile, deed)
    assert hostile.deaths == 2
    assert decode(hostile, PHOTO).shape == (640, 480, 3)


def test_a_child_that_was_killed_for_another_reason_costs_its_file_nothing(hostile: Sandbox) -> None:
    decode(hostile, PHOTO)
    process_of(hostile).kill()

    assert decode(hostile, PHOTO).shape == (640, 480, 3)


def test_a_server_that_was_killed_costs_a_file_nothing(hostile: Sandbox) -> None:
    decode(hostile, PHOTO)
    assert hostile._server is not None
    psutil.Process(hostile._server.pid).kill()

    assert decode(hostile, PHOTO).shape == (640, 480, 3)


def test_all_children_are_of_one_server(hostile: Sandbox) -> None:
    decode(hostile, PHOTO)
    with pytest.raises(InvalidInputError):
        decode(hostile, b"SEGV")
    decode(hostile, PHOTO)

    assert hostile._server is not None
    assert process_of(hostile).ppid() == hostile._server.pid


@pytest.mark.parametrize("deed", [b"HANG", b"DOZE"])
def test_a_file_that_hangs_the_decoder_is_given_up(hostile: Sandbox, deed: bytes) -> None:
    decode(hostile, PHOTO)
    with pytest.raises(InvalidInputError, match="too long"):
        decode(hostile, deed, timeout_s=0.5)
    assert decode(hostile, PHOTO).shape == (640, 480, 3)


def test_a_decoder_that_takes_all_memory_is_stopped_by_its_limit(hostile: Sandbox) -> None:
    with pytest.raises(InvalidInputError, match="more memory"):
        decode(hostile, b"EATS")


def test_a_fault_of_ours_is_told_apart_from_the_files(hostile: Sandbox) -> None:
    with pytest.raises(DecodeFailedError, match="ValueError"):
        decode(hostile, b"FAIL")


@pytest.mark.parametrize("deed", [b"READ", b"SAVE", b"CALL", b"FORK", b"EXEC", b"KILL"])
def test_a_decoder_that_was_taken_over_finds_every_door_closed(hostile: Sandbox, deed: bytes) -> None:
    with pytest.raises(InvalidInputError, match="PermissionError"):
        decode(hostile, deed)


def test_a_child_knows_nothing_of_our_environment(one: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHQUEUE_DATABASE_URL", "secret")
    decode(one, PHOTO)

    assert not [name for name in process_of(one).environ() if name.startswith("TORCHQUEUE")]


def test_a_child_loads_no_torch(one: Sandbox) -> None:
    decode(one, PHOTO)

    assert not [each.path for each in process_of(one).memory_maps() if "torch" in each.path.replace("torchqueue", "")]


def test_a_spent_child_is_replaced(one: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    decode(one, PHOTO)
    before = process_of(one).pid
    monkeypatch.setattr(sandbox, "ITEMS_PER_CHILD", 1)

    decode(one, PHOTO)
    assert process_of(one).pid != before


PARENT = f"""
import sys, time
from ml.sandbox import Sandbox
made = Sandbox(1)
with made.decoded(open({str(SAMPLES / "sandal-02.jpg")!r}, "rb").read(), target_px=0):
    print(made._slots[0].child.pid, flush=True)
time.sleep(60)
"""


def test_a_child_dies_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()

    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_closing_ends_the_children() -> None:
    made = Sandbox(2)
    made.start()
    for start in made._starting:
        start.result()
    pids = [slot.child.pid for slot in made._slots if slot.child is not None]

    made.close()
    assert len(pids) == 2
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_one_bad_picture_among_many_fails_alone(image_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MODULE", HOSTILE)
    engine = Engine("cpu:0", sandboxed=True)
    engine.load(image_spec, dump_weights(build_untrained(image_spec, "cpu").module))
    payloads = [PHOTO, b"SEGV", DRAWING, b"EATS", PHOTO]

    outcomes = engine.compute(("images", 1), engine.decode(("images", 1), payloads))
    engine.close()
    assert [outcome.error_code for outcome in outcomes] == [None, "invalid_input", None, "invalid_input", None]


def test_pictures_behind_those_that_take_too_long_are_not_begun(
    image_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "MODULE", HOSTILE)
    monkeypatch.setattr("ml.decoding.BATCH_TIME_S", 0.5)
    monkeypatch.setattr("ml.decoding.LAST_TURN_S", 0.4)
    engine = Engine("cpu:0", sandboxed=True, decode_threads=1)
    engine.load(image_spec, dump_weights(build_untrained(image_spec, "cpu").module))

    hung, unreached = engine.decode(("images", 1), [b"DOZE", PHOTO])
    outcomes = engine.compute(("images", 1), [hung, unreached])
    engine.close()
    assert isinstance(unreached, NotReachedError)
    assert [outcome.error_code for outcome in outcomes] == ["invalid_input", "internal"]


def test_several_pictures_of_one_block_are_decoded_one_after_another(one: Sandbox) -> None:
    with decoding_in(one):
        shapes = [read_picture(data, target_px=0).pixels_hwc.shape for data in (PHOTO, DRAWING, PHOTO)]

    assert shapes[0] == shapes[2] == (640, 480, 3)
    assert one._free.qsize() == 1


def test_a_model_without_pictures_starts_no_process(vector_spec: ModelSpec) -> None:
    engine = Engine("cpu:0", sandboxed=True)
    engine.load(vector_spec, dump_weights(build_untrained(vector_spec, "cpu").module))
    pool: DecodePool = engine._decoders
    assert pool._sandbox is not None

    assert [slot.child for slot in pool._sandbox._slots] == [None, None]
    engine.close()


def test_a_process_that_cannot_be_started_fails_the_item_as_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MODULE", "no.such.module")
    made = Sandbox(1)

    with pytest.raises(DecodeFailedError, match="cannot be started"):
        decode(made, PHOTO)
    made.close()


def test_a_process_that_does_not_greet_fails_the_item_as_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MODULE", "tests.unit.ml.forking")
    monkeypatch.setattr(sandbox, "START_TIMEOUT_S", 0.2)
    made = Sandbox(1)

    with pytest.raises(DecodeFailedError, match=r"ended at its start \(-9\)"):
        decode(made, PHOTO)
    made.close()


GOOD = Pixels(rows=10, columns=20, height=40, width=80, reduction=4, cpu_s=1.0)

LIES = {
    "nothing": b"",
    "an unknown kind": b"\x07hello",
    "half a message": write_pixels(GOOD)[:-1],
    "more pixels than there is room for": write_pixels(Pixels(100, 200, 400, 800, 4, 1.0)),
    "no pixels": write_pixels(Pixels(0, 0, 0, 0, 1, 1.0)),
    "sizes that do not fit each other": write_pixels(Pixels(10, 20, 40, 800, 4, 1.0)),
    "an unknown failure": b"\x02\x09text",
    "a failure that is no text": write_failure(Failure.INVALID, "") + b"\xff\xfe",
}


def test_an_honest_answer_is_read() -> None:
    assert read_answer(write_pixels(GOOD), 10_000) == GOOD
    assert read_answer(write_failure(Failure.INVALID, "é"), 10_000) == (Failure.INVALID, "é")


@pytest.mark.parametrize("message", LIES.values(), ids=LIES)
def test_no_answer_is_believed_that_cannot_be(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_answer(message, 10_000)


@pytest.mark.parametrize("message", [b"", b"hello", b"ready", b"ready\1\1\1"])
def test_a_child_that_greets_otherwise_is_none_of_ours(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_greeting(message)
