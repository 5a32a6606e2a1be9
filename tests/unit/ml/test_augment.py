import torch

from ml.augment import augment_garments


def _augment(images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return augment_garments(images, torch.Generator().manual_seed(seed))


def _images(count: int = 16) -> torch.Tensor:
    images = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 6:22, 8:20] = 200
    return images


def test_images_keep_their_shape_and_range() -> None:
    changed = _augment(_images())
    assert changed.shape == (16, 1, 28, 28)
    assert changed.dtype == torch.float32
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_images_are_changed_each_in_its_own_way() -> None:
    changed = _augment(_images())
    assert len(torch.unique(changed.flatten(1), dim=0)) == 16


def test_the_same_seed_makes_the_same_changes() -> None:
    assert torch.equal(_augment(_images()), _augment(_images()))
    assert not torch.equal(_augment(_images()), _augment(_images(), seed=1))


def test_the_given_images_stay_as_they_are() -> None:
    images = _images()
    _augment(images)
    assert torch.equal(images, _images())


def test_the_background_stays_black() -> None:
    changed = _augment(_images(200))
    assert changed[:, :, 0, :].mean() < 1


def test_garments_stay_about_where_they_were() -> None:
    mean = _augment(_images(200)).mean(dim=0)[0]
    assert mean[14, 14] > 100
