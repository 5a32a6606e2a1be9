"""Scenes: one to four garments of Fashion-MNIST on a real photograph, each with the mask that a model should find.

Everything is drawn from one generator: the same seed gives the same scenes. Composed on the fly, hundreds a second.

Shapes: B scenes, M garments in all of them, H height, W width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ml.datasets import fashion_mnist
from ml.datasets.fashion_mnist import LabelledImages
from ml.datasets.garment_shapes import enlarge, place_grid
from ml.datasets.photographs import load_photographs
from ml.errors import DatasetError

GROUPS: dict[str, tuple[str, ...]] = {
    "Top": ("T-shirt/top", "Pullover", "Coat", "Shirt"),
    "Trouser": ("Trouser",),
    "Dress": ("Dress",),
    "Footwear": ("Sandal", "Sneaker", "Ankle boot"),
    "Bag": ("Bag",),
}
"""What is told apart, and the classes of Fashion-MNIST in it."""

LABELS = ("Background", *GROUPS)
"""By index in a mask."""

SIDE_PX = 96
"""Of a scene, where nobody asks for another size. A garment then covers 43 px or more, and has 28 to show."""

MAX_GARMENTS = 4

MIN_SIDES = (0.60, 0.50, 0.45, 0.42)
"""Of the 28 pixels of a garment, in shorter sides of the scene, by number of garments in it."""

MAX_SIDES = (0.95, 0.75, 0.62, 0.52)
"""The largest."""

CANDIDATES = 12
"""Places tried for each garment; the one farthest from the others is taken, so that most are seen nearly whole."""

MAX_ANGLE_RAD = math.radians(15)
MAX_LOG_STRETCH = math.log(1.1)

PATTERNED_SHARE = 0.15
"""Of all garments; stripes in a second colour."""

MAX_STRIPE = 0.7
"""Of the second colour in a stripe; the garment's own shape stays to be seen."""

EVEN = (1, 1, 1, 1)
"""As many scenes of one garment as of four."""

CROWDED = (1, 2, 3, 4)
"""To begin with: more garments teach more, and a scene costs the same. One garment alone is larger than any other."""

SHADOW_PX = 4
"""Garments darken what is around them within about so many pixels."""

PHOTOGRAPH_SIDES = 2
"""Photographs are reduced once to so many shorter sides of the scene, not again for every crop."""

MIXED_SHARE = 0.5
"""Of the varied scenes: two backgrounds flow into each other along curves, a curved edge alone is no garment."""

MIX_GRID = 5
"""Points across a scene between which the curves run."""

MIX_SHARPNESS = 8.0
"""Of the edge between the two."""

BAR_SHARE = 0.4
"""Of all scenes: with bars as ``ml.letterbox`` adds to a picture that is not square."""

MIN_BARED = 0.7
"""Least part of the shorter direction that bars leave."""

BAR_LEVEL = 127
"""As ``ml.letterbox.PAD_LEVEL``."""


@dataclass(frozen=True, slots=True)
class Scenes:
    """Pictures with their masks.

    Args:
        images: ``[B, 3, H, W]`` uint8, 0..255, RGB.
        masks: ``[B, H, W]`` int64, the index in ``LABELS`` of the topmost garment at each pixel, or 0.
    """

    images: Tensor
    masks: Tensor


class SceneComposer:
    """Composes scenes of one part of the data.

    Args:
        garments: Drawn from so that every group of ``GROUPS`` comes equally often.
        photographs: ``[3, H, W]`` uint8 each; crops of them are the backgrounds.
        size: H and W of a scene.
        crowding: How often a scene has one, two, three and four garments, in relation to each other.
        varied: For training: backgrounds are mixed from two photographs in every other scene, their colours exchanged,
            and a share of the scenes gets bars.

    Raises:
        DatasetError: A group has no garment, or there is no photograph.
    """

    def __init__(
        self,
        garments: LabelledImages,
        photographs: Sequence[Tensor],
        *,
        size: tuple[int, int] = (SIDE_PX, SIDE_PX),
        crowding: Sequence[float] = EVEN,
        varied: bool = False,
    ) -> None:
        indices = [[fashion_mnist.LABELS.index(label) for label in labels] for labels in GROUPS.values()]
        self._members = [torch.isin(garments.targets, torch.tensor(group)).nonzero()[:, 0] for group in indices]
        if not photographs or any(len(members) == 0 for members in self._members):
            raise DatasetError("Scenes take at least one photograph and one garment of every group.")
        self._garments = garments
        self._size = size
        self._photographs = [_shrink(photograph, PHOTOGRAPH_SIDES * min(size)) for photograph in photographs]
        self._crowding = torch.tensor(crowding, dtype=torch.float32)
        self._varied = varied

    def compose(self, count: int, generator: torch.Generator) -> Scenes:
        """Compose ``count`` scenes; the generator is the only source of randomness."""
        scene, groups, images = self._choose(count, generator)
        layers = _render(images, *_arrange(scene, count, self._size, generator), self._size, generator)
        pictures = self._backgrounds(count, generator)
        if self._varied:
            pictures = _mix(pictures, generator)
        masks = torch.zeros(count, *self._size, dtype=torch.int64)
        rank = _rank_within(scene)
        for level in range(MAX_GARMENTS):
            chosen = rank == level
            _lay(pictures, masks, scene[chosen], groups[chosen] + 1, layers[chosen], generator)
        pictures = _light(pictures, generator)
        if self._varied:
            _add_bars(pictures, masks, generator)
        return Scenes(pictures.mul(255).round().clamp(0, 255).to(torch.uint8), masks)

    def _choose(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """For M garments: their scene, ascending; their group; and their image ``[M, 1, 28, 28]``."""
        numbers = torch.multinomial(self._crowding, count, replacement=True, generator=generator) + 1
        scene = torch.arange(count).repeat_interleave(numbers)
        groups = torch.randint(len(GROUPS), (len(scene),), generator=generator)
        share = torch.rand(len(scene), generator=generator)
        picked = torch.stack(
            [
                self._members[group][int(part * len(self._members[group]))]
                for group, part in zip(groups.tolist(), share.tolist(), strict=True)
            ]
        )
        return scene, groups, self._garments.images[picked]

    def _backgrounds(self, count: int, generator: torch.Generator) -> Tensor:
        """Crops of photographs ``[B, 3, H, W]`` float32, 0..1, mirrored and tinted at random."""
        return torch.cat([self._background(torch.rand(8, generator=generator).tolist()) for _ in range(count)])

    def _background(self, drawn: list[float]) -> Tensor:
        height, width = self._size
        photograph = self._photographs[int(drawn[0] * len(self._photographs))]
        largest = min(photograph.shape[1] / height, photograph.shape[2] / width)
        # From a quarter of what the photograph can give up to all of it.
        zoom = largest * (0.25 + 0.75 * drawn[1])
        crop_h, crop_w = int(height * zoom), int(width * zoom)
        top = int(drawn[2] * (photograph.shape[1] - crop_h + 1))
        left = int(drawn[3] * (photograph.shape[2] - crop_w + 1))
        crop = photograph[:, top : top + crop_h, left : left + crop_w].float().unsqueeze(0) / 255
        if drawn[4] < 0.5:
            crop = crop.flip(3)
        scaled = functional.interpolate(crop, self._size, mode="bilinear", antialias=True)
        tint = torch.tensor(drawn[5:8]).view(1, 3, 1, 1)
        return (scaled * (0.6 + 0.6 * tint)).clamp(0, 1)


def build_composer(
    split: Literal["train", "validation", "test"],
    directory: Path = fashion_mnist.DEFAULT_DIRECTORY,
    *,
    size: tuple[int, int] = (SIDE_PX, SIDE_PX),
    crowding: Sequence[float] = EVEN,
) -> SceneComposer:
    """The composer of one part; ``size`` and ``crowding`` as of ``SceneComposer``.

    ``train`` and ``validation`` share the photographs, and share the training garments 11 to 1; ``test`` has the test
    garments on photographs of its own.

    Raises:
        DatasetError: The data is not there.
    """
    if split == "test":
        garments, photographs = fashion_mnist.load_split("test", directory), load_photographs("test")
        return SceneComposer(garments, photographs, size=size, crowding=crowding)
    labelled = fashion_mnist.load_split("train", directory)
    border = len(labelled) * 11 // 12
    part = labelled.part(0, border) if split == "train" else labelled.part(border)
    if split == "validation":
        return SceneComposer(part, load_photographs("train"), size=size, crowding=crowding)
    return SceneComposer(part, load_photographs("train"), size=size, crowding=crowding, varied=True)


def _mix(backgrounds: Tensor, generator: torch.Generator) -> Tensor:
    """Exchange colours, and let some backgrounds ``[B, 3, H, W]`` flow into the next one's."""
    count = len(backgrounds)
    # In any order of red, green and blue, a photograph is as good a background and another one.
    order = torch.rand(count, 3, generator=generator).argsort(dim=1)[..., None, None].expand_as(backgrounds)
    varied = backgrounds.gather(1, order)
    field = torch.randn(count, 1, MIX_GRID, MIX_GRID, generator=generator)
    smooth = functional.interpolate(field, backgrounds.shape[2:], mode="bicubic", align_corners=True)
    chosen = (torch.rand(count, 1, 1, 1, generator=generator) < MIXED_SHARE).float()
    return torch.lerp(varied, backgrounds.roll(1, dims=0), (smooth * MIX_SHARPNESS).sigmoid() * chosen)


def _shrink(photograph: Tensor, shortest_px: int) -> Tensor:
    """``[3, H, W]`` uint8 with a shorter side of at most ``shortest_px``."""
    scale = shortest_px / min(photograph.shape[1:])
    if scale >= 1:
        return photograph
    size = [round(side * scale) for side in photograph.shape[1:]]
    return functional.interpolate(photograph.unsqueeze(0), size, mode="bilinear", antialias=True)[0]


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _rank_within(scene: Tensor) -> Tensor:
    """``[M]``: how many garments of the same scene come before."""
    first = torch.searchsorted(scene, scene)
    return torch.arange(len(scene)) - first


def _arrange(scene: Tensor, count: int, size: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Centres ``[M, 2]`` and sides ``[M]`` in pixels, the garments of a scene well apart."""
    height, width = size
    numbers = torch.bincount(scene, minlength=count)[scene]
    least, most = torch.tensor(MIN_SIDES)[numbers - 1], torch.tensor(MAX_SIDES)[numbers - 1]
    sides = torch.lerp(least, most, torch.rand(len(scene), generator=generator)) * min(height, width)
    # The square around a garment may leave the picture by a tenth of its side.
    room = torch.tensor([width, height]) - sides[:, None] * 0.8
    tried = torch.rand(len(scene), CANDIDATES, 2, generator=generator) * room[:, None] + sides[:, None, None] * 0.4
    rank, first = _rank_within(scene), torch.searchsorted(scene, scene)
    centres = tried[:, 0].clone()
    for level in range(1, MAX_GARMENTS):
        later = (rank == level).nonzero()[:, 0]
        nearest = torch.full((len(later), CANDIDATES), math.inf)
        for earlier in range(level):
            other = first[later] + earlier
            apart = (tried[later] - centres[other, None]).norm(dim=2) / (sides[later] + sides[other])[:, None]
            nearest = torch.minimum(nearest, apart)
        centres[later] = tried[later, nearest.argmax(dim=1)]
    return centres, sides


def _render(
    images: Tensor, centres: Tensor, sides: Tensor, size: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Layers ``[M, 4, H, W]`` float32: the garment's colour in 0..1, and how much of each pixel it covers."""
    count = len(images)
    stretch = torch.exp(_uniform(count, -MAX_LOG_STRETCH, MAX_LOG_STRETCH, generator))
    angles = _uniform(count, -MAX_ANGLE_RAD, MAX_ANGLE_RAD, generator)
    mirrored = torch.rand(count, generator=generator) < 0.5
    grid = place_grid(centres, torch.stack([sides * stretch, sides / stretch], dim=1), angles, mirrored, size)
    sampled = functional.grid_sample(enlarge(images), grid, mode="bilinear", align_corners=False)
    gray, edge = sampled[:, :1], sampled[:, 1:]
    # The outline turns from 0 to 1 within about a pixel and a half of the 28; the edge in the picture is sharper.
    cover = ((edge - 0.5) * (sides / 28).clamp(min=1).view(-1, 1, 1, 1) + 0.5).clamp(0, 1)
    return torch.cat([_paint(gray, grid, generator), cover], dim=1)


def _paint(gray: Tensor, grid: Tensor, generator: torch.Generator) -> Tensor:
    """Colours ``[M, 3, H, W]``: a dye, or stripes of two, shaded as in the shop photo, which the data set negated."""
    count = len(gray)
    dark = 0.2 + 0.4 * torch.rand(count, 1, 1, 1, generator=generator)
    shade = dark + (1 - dark) * (1 - gray)
    dyes = _dyes(2 * count, generator).view(2, count, 3, 1, 1)
    direction = _uniform(count, 0, math.pi, generator).view(-1, 1, 1)
    frequency = _uniform(count, 8, 30, generator).view(-1, 1, 1)
    patterned = (torch.rand(count, 1, 1, generator=generator) < PATTERNED_SHARE).float()
    wave = torch.sin(frequency * (grid[..., 0] * direction.cos() + grid[..., 1] * direction.sin()))
    stripes = ((wave * 4).clamp(-1, 1) * 0.5 + 0.5) * patterned * MAX_STRIPE
    return torch.lerp(dyes[0], dyes[1], stripes.unsqueeze(1)) * shade


def _dyes(count: int, generator: torch.Generator) -> Tensor:
    """Colours ``[count, 3]`` of any hue, gray as often as vivid, none nearly black."""
    hue = torch.rand(count, 1, generator=generator) * 6
    saturation = torch.rand(count, 1, generator=generator) * 0.9
    value = _uniform(count, 0.35, 1.0, generator).unsqueeze(1)
    # The closed form of HSV to RGB, as Wikipedia's "HSL and HSV" gives it for f(5), f(3), f(1).
    turned = (torch.tensor([[5.0, 3.0, 1.0]]) + hue) % 6
    return value - value * saturation * torch.minimum(turned, 4 - turned).clamp(0, 1)


def _lay(
    pictures: Tensor, masks: Tensor, scene: Tensor, labels: Tensor, layers: Tensor, generator: torch.Generator
) -> None:
    """Lay one garment onto each of some scenes, in place, with a soft shadow around it."""
    if len(scene) == 0:
        return
    cover = layers[:, 3:]
    depth = torch.rand(len(scene), 1, 1, 1, generator=generator) * 0.5
    # On a coarse copy, which is as soft and a fraction of the work.
    coarse = functional.avg_pool2d(functional.avg_pool2d(cover, SHADOW_PX), 3, stride=1, padding=1)
    shadow = functional.interpolate(coarse, cover.shape[2:], mode="bilinear") * depth
    pictures[scene] = torch.lerp(pictures[scene] * (1 - shadow), layers[:, :3], cover)
    masks[scene] = torch.where(cover[:, 0] > 0.5, labels.view(-1, 1, 1), masks[scene])


def _light(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Light from one side, a little blur in some, and grain."""
    count, _, height, width = pictures.shape
    direction = _uniform(count, 0, 2 * math.pi, generator).view(-1, 1, 1)
    fall = _uniform(count, 0, 0.25, generator).view(-1, 1, 1)
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    lit = pictures * (1 + fall * (x * direction.cos() + y * direction.sin())).unsqueeze(1)
    amount = (_uniform(count, -1, 1, generator).clamp(min=0) * 0.8).view(-1, 1, 1, 1)
    blurred = functional.interpolate(functional.avg_pool2d(lit, 2), (height, width), mode="bilinear")
    soft = torch.lerp(lit, blurred, amount)
    grain = torch.randn(count, 1, height, width, generator=generator)
    return soft + grain * _uniform(count, 0, 0.02, generator).view(-1, 1, 1, 1)


def _add_bars(pictures: Tensor, masks: Tensor, generator: torch.Generator) -> None:
    """Cover the ends of a share of the scenes, in place, as if a wide or tall picture had been made square."""
    count, _, height, width = pictures.shape
    chosen = torch.rand(count, generator=generator) < BAR_SHARE
    kept = torch.where(chosen, _uniform(count, MIN_BARED, 1.0, generator), torch.ones(count))
    upright = torch.rand(count, generator=generator) < 0.5
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    covered = torch.where(upright.view(-1, 1, 1), x, y).abs() > kept.view(-1, 1, 1)
    pictures.masked_fill_(covered.unsqueeze(1), BAR_LEVEL / 255)
    masks.masked_fill_(covered, 0)
