"""Which models keep items, and what an item may be called."""

from schemas.client_names import NAME_LENGTH
from store.models import ServedVersion
from webapp.errors import InvalidInputError, NoIndexError
from webapp.services import Services

SIMILARITY = "similarity"


def resolve_index(services: Services, model: str) -> ServedVersion:
    """Return the champion of a model that keeps items.

    Raises:
        UnknownModelError: There is no such model, or it has no champion yet.
        NoIndexError: It is of another kind, or takes no pictures.
    """
    version = services.models.resolve(model, None)
    if version.kind != SIMILARITY:
        raise NoIndexError(f"model {model!r} keeps no items: its kind is {version.kind}; those of kind {SIMILARITY} do")
    if version.input["type"] != "image":
        raise NoIndexError(f"model {model!r} keeps no items: it takes no pictures")
    return version


def check_item_names(catalog: str, external_id: str) -> None:
    """Refuse names that are too long; a path holds no empty one and no slash, and `webapp.app` refuses NUL.

    Raises:
        InvalidInputError: Names the one.
    """
    for field, name in (("catalog", catalog), ("external_id", external_id)):
        if len(name) > NAME_LENGTH:
            raise InvalidInputError(field, f"is longer than {NAME_LENGTH} characters")
