"""Which version answers a request, where a model's traffic is split. A pure function: it costs microseconds.

Every request has a point, 64 bits: random, or the hash of what makes it sticky. Every version turns the point into a
number of its own, and the one that comes first in an exponential race with its share as the rate answers (weighted
rendezvous hashing). So each version is chosen with exactly its share, every process chooses the same for one key, and
when a version's share rises, keys move to that version only, and no more of them than must.
"""

import math
import random
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from schemas.enums import StickyKey
from store.keys import Principal
from store.traffic import Arm, Split

BITS = 64
MASK = (1 << BITS) - 1

# Of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
INCREMENT = 0x9E3779B97F4A7C15
FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)

MANTISSA_BITS = 53


def choose(split: Split, point: int) -> Arm:
    """Choose the version that answers.

    Args:
        split: With at least one arm.
        point: 64 bits.
    """
    arms = split.arms
    if len(arms) == 1:
        return arms[0]
    return min(arms, key=lambda arm: -math.log(_unit(point, arm.version.number)) / arm.probability)


def request_point(split: Split, caller: Principal, query: Mapping[str, Any], headers: Mapping[str, Any]) -> int:
    """Return the point of a request: the same for the same key, else random."""
    key = _sticky_key(split.sticky, caller, query, headers)
    if key is None:
        return random.getrandbits(BITS)
    # The model is part of it, so that one key's luck in one model says nothing of its luck in another.
    return key_point(split.model, *key)


def key_point(*parts: object) -> int:
    """Hash what a key is made of."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=BITS // 8).digest())


def _sticky_key(
    sticky: StickyKey, caller: Principal, query: Mapping[str, Any], headers: Mapping[str, Any]
) -> tuple[object, ...] | None:
    """Tell what a request is to be recognised by; None when by nothing."""
    if sticky is StickyKey.API_KEY:
        return ("api_key", caller.api_key_id)
    if sticky is StickyKey.ITEM and query["catalog"] is not None:
        return ("item", query["catalog"], query["external_id"])
    if sticky is StickyKey.HEADER and headers["sticky_key"] is not None:
        return ("header", headers["sticky_key"])
    if headers["idempotency_key"] is not None:
        # A repeat of the same request is the same request, whichever process it comes to.
        return ("idempotency_key", caller.api_key_id, headers["idempotency_key"])
    return None


def _unit(point: int, number: int) -> float:
    """Return a number between 0 and 1, both exclusive, that a version's number makes of a point."""
    mixed = (point + number * INCREMENT) & MASK
    mixed = ((mixed ^ (mixed >> 30)) * FACTORS[0]) & MASK
    mixed = ((mixed ^ (mixed >> 27)) * FACTORS[1]) & MASK
    mixed ^= mixed >> 31
    return ((mixed >> (BITS - MANTISSA_BITS)) + 0.5) * 2.0**-MANTISSA_BITS
