"""What a GPU decodes and what it leaves. The same calls run on the CPU, for which torchvision takes lists too."""

from collections.abc import Iterator

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from ml.engine import Engine
from ml.inputs import build_decoder
from ml.kinds import build_untrained
from ml.nvjpeg import count_pixels, decode_photos
from ml.spec import InputSpec, ModelSpec
from ml.weights import dump_weights
from tests.unit.ml.conftest import EncodeImage

CPU = torch.device("cpu")
SPEC = InputSpec(type="image", size=64)

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def photograph() -> Image.Image:
    return Image.fromarray(load_sample_images().images[0])


@pytest.fixture
def jpeg(photograph: Image.Image, encode_image: EncodeImage) -> bytes:
    return encode_image(photograph, "JPEG", quality=90)


@pytest.fixture
def gpu_engine() -> Iterator[Engine]:
    engine = Engine("cuda:0")
    yield engine
    engine.close()


def test_the_pixels_of_a_plain_jpeg_are_counted(jpeg: bytes) -> None:
    assert count_pixels(jpeg) == 640 * 427


def test_a_turned_photo_is_left_to_the_cpu(photograph: Image.Image, encode_image: EncodeImage) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert count_pixels(encode_image(photograph, "JPEG", exif=exif)) is None


@pytest.mark.parametrize(("image_format", "mode"), [("PNG", "RGB"), ("WEBP", "RGB"), ("JPEG", "CMYK")])
def test_other_files_are_left_to_the_cpu(
    photograph: Image.Image, encode_image: EncodeImage, image_format: str, mode: str
) -> None:
    assert count_pixels(encode_image(photograph.convert(mode), image_format)) is None


@pytest.mark.parametrize("payload", [b"", b"text", [1.0, 2.0]])
def test_what_is_no_photo_is_left_to_the_cpu(payload: bytes | list[float]) -> None:
    assert count_pixels(payload) is None


def test_each_photo_keeps_its_place(jpeg: bytes) -> None:
    squares = decode_photos([b"text", jpeg, b"", jpeg], SPEC, CPU)
    assert [square is not None for square in squares] == [False, True, False, True]


def test_a_photo_is_prepared_as_the_decoder_does_it(jpeg: bytes) -> None:
    [square] = decode_photos([jpeg], SPEC, CPU)
    assert square is not None
    expected = build_decoder(SPEC).decode(jpeg)
    assert (square.shape, square.dtype) == (expected.shape, expected.dtype)
    # The decoder reduced it while decoding, by half.
    assert (square.float() - expected.float()).abs().mean() <= 2


def test_more_pixels_than_fit_at_once_are_decoded_in_several_calls(
    jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.nvjpeg.PIXELS_AT_ONCE", 2 * 640 * 427)
    assert all(square is not None for square in decode_photos([jpeg] * 5, SPEC, CPU))


def test_a_call_that_fails_leaves_its_files_to_the_cpu(jpeg: bytes) -> None:
    damaged = jpeg[: len(jpeg) // 2]
    assert decode_photos([jpeg, damaged], SPEC, CPU) == [None, None]


def test_a_preparation_that_takes_more_than_tensors_is_left_to_the_cpu(jpeg: bytes) -> None:
    garment = InputSpec(type="image", size=28, channels=1, preparation="garment")
    assert decode_photos([jpeg], garment, CPU) == [None]


@needs_gpu
@pytest.mark.gpu
def test_nvjpeg_gives_what_the_cpu_gives(jpeg: bytes) -> None:  # pragma: no cover - needs a GPU
    [square] = decode_photos([jpeg], SPEC, torch.device("cuda:0"))
    assert square is not None
    assert square.device.type == "cuda"
    assert (square.cpu().float() - build_decoder(SPEC).decode(jpeg).float()).abs().mean() <= 2


@needs_gpu
@pytest.mark.gpu
def test_a_batch_of_all_sorts_is_answered_on_a_gpu(
    gpu_engine: Engine, jpeg: bytes, photograph: Image.Image, encode_image: EncodeImage
) -> None:  # pragma: no cover - needs a GPU
    config = {
        "kind": "classification",
        "arch": "fashion-cnn",
        "arch_options": {"widths": [2, 4, 8]},
        "input": {"type": "image", "size": 28},
        "labels": ["a", "b"],
        "max_batch": 8,
    }
    spec = ModelSpec.from_config("photos", 1, config)
    gpu_engine.load(spec, dump_weights(build_untrained(spec, "cpu").module))
    files = [jpeg, encode_image(photograph, "PNG"), jpeg[:500], jpeg]
    outcomes = gpu_engine.compute(("photos", 1), gpu_engine.decode(("photos", 1), files))
    assert [outcome.error_code for outcome in outcomes] == [None, None, "invalid_input", None]


@needs_gpu
@pytest.mark.gpu
def test_the_memory_of_a_model_that_leaves_a_gpu_is_returned(
    gpu_engine: Engine,
) -> None:  # pragma: no cover - needs a GPU
    config = {
        "kind": "classification",
        "arch": "mlp",
        "arch_options": {"hidden": [4096, 4096, 4096]},
        "input": {"type": "vector", "size": 2},
        "labels": ["0", "1"],
    }
    spec = ModelSpec.from_config("large", 1, config)
    before = torch.cuda.memory_reserved()
    gpu_engine.load(spec, dump_weights(build_untrained(spec, "cpu").module))
    held = torch.cuda.memory_reserved()
    gpu_engine.unload("large", 1)
    assert held - before >= gpu_engine.held_bytes() + 100 * 2**20
    assert torch.cuda.memory_reserved() - before <= 0.1 * (held - before)
