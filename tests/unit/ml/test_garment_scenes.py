from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ml.datasets import fashion_mnist
from ml.datasets.fashion_mnist import LabelledImages, load_split
from ml.datasets.garment_scenes import GROUPS, LABELS, SIDE_PX, SceneComposer, Scenes, build_composer
from ml.datasets.photographs import TEST, TRAIN, load_photographs
from ml.errors import DatasetError

GRAY = torch.full((3, 200, 200), 128, dtype=torch.uint8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blocks(levels: Sequence[int] = (255,) * 10) -> LabelledImages:
    """One garment of each class: a square block of the class's gray level."""
    images = torch.zeros(10, 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 4:24, 4:24] = torch.tensor(levels, dtype=torch.uint8).view(10, 1, 1)
    return LabelledImages(images, torch.arange(10))


def compose(count: int = 64, *, photographs: Sequence[Tensor] = (GRAY,), varied: bool = False, seed: int = 0) -> Scenes:
    return SceneComposer(blocks(), photographs, varied=varied).compose(count, seeded(seed))


def test_every_class_of_the_data_is_in_one_group() -> None:
    assert sorted(label for group in GROUPS.values() for label in group) == sorted(fashion_mnist.LABELS)


def test_scenes_are_rgb_bytes_with_a_label_for_every_pixel() -> None:
    scenes = compose(5)
    assert (scenes.images.shape, scenes.images.dtype) == ((5, 3, SIDE_PX, SIDE_PX), torch.uint8)
    assert (scenes.masks.shape, scenes.masks.dtype) == ((5, SIDE_PX, SIDE_PX), torch.int64)
    assert 0 <= scenes.masks.min() <= scenes.masks.max() < len(LABELS)


def test_the_same_seed_gives_the_same_scenes() -> None:
    first, second, other = compose(8), compose(8), compose(8, seed=1)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.masks, second.masks)
    assert not torch.equal(first.masks, other.masks)


def test_nothing_is_drawn_from_elsewhere() -> None:
    torch.manual_seed(1)
    first = compose(8)
    torch.manual_seed(2)
    assert torch.equal(first.images, compose(8).images)


def test_every_label_is_seen_about_equally_often() -> None:
    masks = compose(300).masks
    scenes_with = [int((masks == index).flatten(1).any(dim=1).sum()) for index in range(1, len(LABELS))]
    # Of 300 scenes with 2.5 garments of 7 labels each: nearly a third.
    assert min(scenes_with) > 50
    assert max(scenes_with) < 150


def test_every_scene_shows_a_garment_and_background() -> None:
    shares = (compose().masks > 0).float().mean(dim=(1, 2))
    assert shares.min() > 0.05
    assert shares.max() < 0.95


def test_the_mask_is_where_the_picture_changes() -> None:
    garment = compose(32)
    plain = (garment.images.float() - 128).abs().amax(dim=1)
    assert plain[garment.masks > 0].mean() > plain[garment.masks == 0].mean()


def test_the_topmost_garment_owns_a_pixel() -> None:
    scenes = compose(200)
    numbers = [len(mask.unique()) - 1 for mask in scenes.masks]
    # Up to four garments, and as many labels; a covered one never adds a second label to a pixel.
    assert set(numbers) <= {1, 2, 3, 4}
    assert max(numbers) >= 3


def test_bars_cover_pictures_and_masks() -> None:
    scenes = compose(200, varied=True)
    barred = (scenes.images[:, :, 0] == 127).all(dim=(1, 2)) | (scenes.images[:, :, :, 0] == 127).all(dim=(1, 2))
    assert 0.2 < barred.float().mean() < 0.5
    covered = (scenes.images == 127).all(dim=1)
    whole_rows = covered.all(dim=2, keepdim=True).expand_as(covered)
    assert whole_rows.any()
    assert not scenes.masks[whole_rows].any()


def test_a_scene_may_have_any_size() -> None:
    scenes = SceneComposer(blocks(), [GRAY], size=(60, 100)).compose(2, seeded())
    assert scenes.images.shape == (2, 3, 60, 100)
    assert scenes.masks.shape == (2, 60, 100)


def test_the_background_is_a_part_of_the_photograph() -> None:
    red = torch.zeros(3, 150, 150, dtype=torch.uint8)
    red[0] = 200
    scenes = compose(32, photographs=[red])
    # Garments cast a soft shadow and light falls from a side, but nothing makes red green.
    background = scenes.images.float().movedim(1, -1)[scenes.masks == 0]
    assert background[:, 0].mean() > 4 * background[:, 1].mean()


def test_no_photograph_is_refused() -> None:
    with pytest.raises(DatasetError, match="at least one photograph"):
        SceneComposer(blocks(), [])


def test_a_group_without_a_garment_is_refused() -> None:
    with pytest.raises(DatasetError, match="one garment of every group"):
        SceneComposer(blocks().part(0, 8), [GRAY])


def test_test_scenes_share_neither_garments_nor_photographs_with_training(tripled_fashion: Path) -> None:
    train, validation, test = (build_composer(part, tripled_fashion) for part in ("train", "validation", "test"))
    labelled = load_split("train", tripled_fashion)
    assert torch.equal(train._garments.images, labelled.images[:132])
    assert torch.equal(validation._garments.images, labelled.images[132:])
    assert torch.equal(test._garments.images, load_split("test", tripled_fashion).images)
    assert [len(composer._photographs) for composer in (train, validation, test)] == [len(TRAIN), len(TRAIN), len(TEST)]


def test_photographs_are_reduced_once(tiny_fashion: Path) -> None:
    composer = build_composer("test", tiny_fashion)
    assert {min(photograph.shape[1:]) for photograph in composer._photographs} == {2 * SIDE_PX}
    assert min(min(photograph.shape[1:]) for photograph in load_photographs("test")) > 2 * SIDE_PX
