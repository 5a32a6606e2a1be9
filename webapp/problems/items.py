"""Problems with items, and with the indexes that keep them."""

from store import errors as store
from webapp import errors
from webapp.problems.problem import Problem

UNKNOWN_ITEM = Problem(
    name="UnknownItem", error=store.UnknownItemError, detail="nothing is known of item '43' in catalog 'shop'"
)
UNKNOWN_INDEXED_ITEM = Problem(
    name="UnknownIndexedItem",
    error=store.UnknownItemError,
    detail="there is no item '43' of catalog 'shop' in this index",
)
NO_INDEX = Problem(
    name="NoIndex",
    error=errors.NoIndexError,
    detail="model 'fashion' keeps no items: its kind is classification; those of kind similarity do",
)
INVALID_ITEM_NAME = Problem(
    name="InvalidItemName",
    error=errors.InvalidInputError,
    detail="is longer than 255 characters",
    field="catalog",
)
