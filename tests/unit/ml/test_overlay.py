import numpy as np
from PIL import Image

from ml.overlay import draw_overlay
from ml.palette import colour_of, encode_mask
from ml.predictor import Result

WHITE = (255, 255, 255)


def result(labels_hw: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> Result:
    return {
        "classes": [{"label": "Bag", "boxes": [[0, 0, 50, 100]]}],
        "mask": {"file": encode_mask(labels_hw, 3), "legend": [{"index": 1, "label": "Bag"}]},
    }


def test_garments_are_coloured_and_the_rest_stays() -> None:
    labels_hw = np.zeros((10, 10), dtype=np.uint8)
    labels_hw[:, :5] = 1
    drawn = draw_overlay(Image.new("RGB", (100, 100), "white"), result(labels_hw))
    assert (drawn.size, drawn.mode) == ((100, 100), "RGB")
    assert drawn.getpixel((75, 60)) == WHITE
    inside = drawn.getpixel((25, 60))
    assert isinstance(inside, tuple)
    between = [low < level < 255 or low == level for low, level in zip(colour_of(1), inside, strict=True)]
    assert all(between)


def test_each_box_has_its_colour() -> None:
    drawn = draw_overlay(Image.new("RGB", (100, 100), "white"), result(np.zeros((10, 10), dtype=np.uint8)))
    assert [drawn.getpixel(corner) for corner in ((0, 99), (49, 99), (49, 50))] == [colour_of(1)] * 3
