"""The share of feedback that no training sees, so that the gate always has some to compare on.

Whether a prediction is held out hangs on its id alone: it is the same for every training and every version, for ever.
"""

from uuid import UUID

#: Shares are kept to one part in so many.
PARTS = 4096

# The last 12 bits of a UUIDv7 are random.
HELD_OUT = "(('x' || right(CAST({column} AS text), 3))::bit(12)::integer < :held_out_parts)"


def held_out_parts(share: float) -> int:
    """What `HELD_OUT` binds for a share of 0..1, see `schemas.gate_settings`."""
    return round(share * PARTS)


def is_held_out(prediction_id: UUID, share: float) -> bool:
    """Whether trainings leave this prediction's feedback to the gate."""
    return prediction_id.int % PARTS < held_out_parts(share)
