import math

import torch
from torch import Tensor
from torch.nn import functional

from ml.datasets.garment_shapes import enlarge, outline, place_grid


def ring(side: int = 28) -> Tensor:
    """A square ring on black, ``[1, 1, S, S]`` float32."""
    image = torch.zeros(1, 1, side, side)
    image[..., 6:22, 6:22] = 1
    image[..., 10:18, 10:18] = 0
    return image


def test_holes_belong_to_the_garment() -> None:
    shape = outline(ring())
    assert shape.sum() == 16 * 16
    assert shape[0, 0, 14, 14] == 1


def test_a_gap_of_a_pixel_is_closed_and_a_wide_one_is_not() -> None:
    narrow, wide = ring(), ring()
    narrow[..., 6:12, 14] = 0
    wide[..., 6:12, 10:18] = 0
    assert outline(narrow)[0, 0, 14, 14] == 1
    assert outline(wide)[0, 0, 14, 14] == 0


def test_noise_near_black_is_no_garment() -> None:
    assert not outline(torch.full((1, 1, 28, 28), 5 / 255)).any()


def test_a_garment_is_enlarged_with_a_soft_edge_between_0_and_1() -> None:
    layers = enlarge((ring() * 255).to(torch.uint8))
    assert layers.shape == (1, 2, 72, 72)
    assert 0 <= layers.min() <= layers.max() <= 1
    assert ((layers[:, 1] > 0.1) & (layers[:, 1] < 0.9)).any()


def test_a_placed_garment_covers_its_place() -> None:
    centres, sides = torch.tensor([[60.0, 20.0]]), torch.tensor([[28.0, 28.0]])
    grid = place_grid(centres, sides, torch.zeros(1), torch.zeros(1, dtype=torch.bool), (40, 80))
    shown = functional.grid_sample(enlarge((ring() * 255).to(torch.uint8)), grid, align_corners=False)[0, 1] > 0.5
    rows, columns = shown.nonzero().unbind(1)
    # The ring is 16 of the 28 pixels, and in the middle.
    assert (int(columns.min()), int(columns.max()), int(rows.min()), int(rows.max())) == (52, 67, 12, 27)


def test_a_mirrored_garment_is_the_mirror_image() -> None:
    centres, sides = torch.tensor([[20.0, 20.0]] * 2), torch.full((2, 2), 28.0)
    plain, mirrored = place_grid(centres, sides, torch.zeros(2), torch.tensor([False, True]), (40, 40))
    assert torch.allclose(mirrored[..., 0], plain.flip(1)[..., 0], atol=1e-6)
    assert torch.equal(mirrored[..., 1], plain[..., 1])


def test_a_quarter_turn_lays_the_top_to_the_right() -> None:
    angle = torch.tensor([math.pi / 2])
    grid = place_grid(
        torch.tensor([[20.0, 20.0]]), torch.full((1, 2), 28.0), angle, torch.zeros(1, dtype=torch.bool), (40, 40)
    )
    across, down = grid[0, 20, 33]
    assert abs(float(across)) < 0.1
    assert float(down) < -0.5
