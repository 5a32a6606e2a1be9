"""What happened in a story: one entry for every few hundred photos, and one for every step."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.story.api import Answer
from benchmarks.story.photos import Photo


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some photos, one after the other.

    Attributes:
        photos: Sent so far.
        answered: By version.
        right: Of them, by version.
        drift: Value over threshold, by what is measured; above 1 is over.
    """

    photos: int
    answered: dict[int, int]
    right: dict[int, int]
    drift: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something that was done or that came about.

    Attributes:
        photos: Sent until then.
        title: A few words.
        detail: A sentence with figures.
    """

    photos: int
    title: str
    detail: str


@dataclass
class Record:
    """The whole story.

    Attributes:
        chunks: In order.
        steps: In order.
        figures: What is held against the targets.
    """

    chunks: list[Chunk] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def photos(self) -> int:
        """Sent so far."""
        return self.chunks[-1].photos if self.chunks else 0

    def add_chunk(self, photos: Sequence[Photo], answers: Sequence[Answer], drift: dict[str, float]) -> Chunk:
        """Add what some photos were answered; returns it."""
        right = Counter(
            answer.version for photo, answer in zip(photos, answers, strict=True) if answer.label == photo.label
        )
        chunk = Chunk(
            photos=self.photos + len(photos),
            answered=dict(Counter(answer.version for answer in answers)),
            right=dict(right),
            drift=drift,
        )
        self.chunks.append(chunk)
        return chunk

    def dump(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


def accuracy(photos: Sequence[Photo], answers: Sequence[Answer]) -> float:
    """Share of answers that are right, 0..1."""
    return sum(answer.label == photo.label for photo, answer in zip(photos, answers, strict=True)) / len(photos)
