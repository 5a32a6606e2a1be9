import io

import numpy as np
from PIL import Image

from ml.palette import COLOURS, colour_of, encode_mask


def test_a_mask_is_read_back_index_by_index() -> None:
    labels_hw = np.random.default_rng(0).integers(0, 8, (37, 53)).astype(np.uint8)
    read = Image.open(io.BytesIO(encode_mask(labels_hw, 8).data))
    assert (read.mode, read.format) == ("P", "PNG")
    assert (np.asarray(read) == labels_hw).all()


def test_a_viewer_sees_the_colours_of_the_legend() -> None:
    labels_hw = np.arange(8, dtype=np.uint8).reshape(2, 4)
    shown = Image.open(io.BytesIO(encode_mask(labels_hw, 8).data)).convert("RGB")
    assert [shown.getpixel((index % 4, index // 4)) for index in range(8)] == [colour_of(index) for index in range(8)]


def test_equal_masks_are_equal_files() -> None:
    labels_hw = np.ones((9, 9), dtype=np.uint8)
    assert encode_mask(labels_hw, 8) == encode_mask(labels_hw.copy(), 8)


def test_labels_beyond_the_palette_reuse_its_colours_but_never_the_background() -> None:
    assert colour_of(len(COLOURS) + 1) == colour_of(1)
    assert all(colour_of(index) != colour_of(0) for index in range(1, 256))
