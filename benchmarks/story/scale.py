"""How large a story is told: the whole one, and a small one for the tests."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Counts of photos, and how the network is trained.

    Attributes:
        widths: Channels of the network.
        base: Images that version 1 is trained on.
        base_epochs: Passes over them.
        gather: Photos before the first retraining.
        upright: Photos before they are shifted.
        shifted: Photos after that.
        after: Shifted photos after the recovery.
        untouched: Test images that nothing but the measuring sees.
        share: Of the traffic for the challenger.
        epochs: Passes of a retraining.
        corrupted: Wrong labels for the bad candidate.
        chunk: Photos between two looks at what happens.
        drift_samples: Answers that drift compares.
        drift_checks: Checks in a row that must find it, a quarter of a minute apart.
        held_out_share: Of the feedback, kept from every training for the gate; a small stream must keep more of it.
        max_loss: What a better candidate may lose on the set on which it is not better: a small network forgets the
            upright photos while it learns the turned ones.
        max_class_loss: The same for one label.
        rise: What the accuracy must rise to; None: above that of version 1.
    """

    widths: tuple[int, int, int]
    base: int
    base_epochs: int
    gather: int
    upright: int
    shifted: int
    after: int
    untouched: int
    share: float
    epochs: int
    corrupted: int
    chunk: int
    drift_samples: int
    drift_checks: int
    held_out_share: float
    max_loss: float
    max_class_loss: float
    rise: float | None


FULL = Scale(
    widths=(16, 32, 64),
    base=1_000,
    base_epochs=2,
    gather=10_000,
    upright=34_000,
    shifted=17_000,
    after=3_000,
    untouched=5_000,
    share=0.1,
    epochs=12,
    corrupted=3_000,
    chunk=500,
    drift_samples=1_000,
    drift_checks=2,
    held_out_share=0.05,
    max_loss=0.03,
    max_class_loss=0.2,
    rise=0.89,
)

SMALL = Scale(
    widths=(4, 8, 16),
    base=60,
    base_epochs=4,
    gather=1_200,
    upright=2_600,
    shifted=1_000,
    after=200,
    untouched=200,
    share=0.5,
    epochs=6,
    corrupted=400,
    chunk=200,
    drift_samples=200,
    drift_checks=1,
    held_out_share=0.25,
    max_loss=0.1,
    max_class_loss=0.4,
    rise=None,
)
