"""I6: each job that a webhook endpoint was to hear of is told under one id, or given up and kept."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ENDED = frozenset({"delivered", "dead"})


@dataclass(frozen=True)
class Told:
    """What arrived at the endpoint: under which id, of which prediction."""

    webhook_id: str
    subject: str


def find_untold(
    wanted: Collection[str], told: Sequence[Told], deliveries: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Say what is wrong with deliveries, one sentence each.

    Args:
        wanted: Ids of the predictions that the endpoint was to hear of.
        told: What it heard.
        deliveries: The rows of these predictions and of these ids, as `witness.DELIVERIES` reads them.
    """
    counts = Counter(delivery["subject_id"] for delivery in deliveries)
    for name in wanted:
        if counts[name] != 1:
            yield f"{name} has {counts[name]} deliveries"
    subjects = {delivery["id"]: delivery["subject_id"] for delivery in deliveries}
    for each in told:
        if subjects.get(each.webhook_id) != each.subject:
            yield f"{each.webhook_id} told of {each.subject}, and is no delivery of that"
    heard = {each.subject for each in told}
    for delivery in deliveries:
        if delivery["state"] not in ENDED:
            yield f"{delivery['id']} is still {delivery['state']}"
        elif delivery["state"] == "delivered" and delivery["subject_id"] in set(wanted) - heard:
            yield f"{delivery['id']} is delivered and never arrived"
