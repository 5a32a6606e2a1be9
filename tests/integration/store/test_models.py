"""`store.models`: the registry."""

from typing import Any

import pytest
from sqlalchemy.orm import Session

from store import models
from store.errors import UnknownModelError, UnknownVersionError
from store.models import ServedVersion, register_version
from store.promotion import promote
from store.tables.model_version import ModelVersion
from tests.factories import BUNDLED_MODELS, VECTOR_CONFIG, add_model


def test_a_first_version_makes_its_model(session: Session) -> None:
    version = _register(session, "new", description="A model.")

    assert (version.number, version.model.name, version.model.description) == (1, "new", "A model.")


def test_versions_count_up_within_their_model(session: Session) -> None:
    assert [_register(session, name).number for name in ("one", "one", "other")] == [1, 2, 1]


def test_a_new_version_does_not_answer_before_it_is_promoted(session: Session) -> None:
    champion = add_model(session, "one")
    _register(session, "one")

    assert models.resolve(session, "one") == champion


def test_a_promoted_version_answers(session: Session) -> None:
    add_model(session, "one")
    _register(session, "one")

    promote(session, name="one", number=2, actor="tests", reason="to answer")

    assert models.resolve(session, "one").number == 2


def test_a_version_that_is_asked_for_answers(session: Session) -> None:
    add_model(session, "one")
    _register(session, "one")

    assert models.resolve(session, "one", 2).number == 2


def test_what_answers_says_what_it_takes(session: Session) -> None:
    assert add_model(session, "one").input == {"type": "vector", "size": 2}


def test_a_model_without_champion_does_not_answer(session: Session) -> None:
    _register(session, "one")

    with pytest.raises(UnknownModelError, match="'one' has no champion"):
        models.resolve(session, "one")


@pytest.mark.parametrize("number", [None, 1])
def test_an_unknown_model_is_named(session: Session, number: int | None) -> None:
    with pytest.raises(UnknownModelError, match="no model 'nope'"):
        models.resolve(session, "nope", number)


@pytest.mark.parametrize("number", [2, 2**31, 10**30])
def test_an_unknown_version_is_named(session: Session, number: int) -> None:
    add_model(session, "one")

    with pytest.raises(UnknownVersionError, match=f"'one' has no version {number}"):
        models.resolve(session, "one", number)


def test_an_unknown_version_cannot_be_promoted(session: Session) -> None:
    add_model(session, "one")

    with pytest.raises(UnknownVersionError):
        promote(session, name="one", number=2, actor="tests", reason="to answer")


def test_models_are_listed_by_name(session: Session) -> None:
    add_model(session, "anvil")

    assert [model.name for model in models.list_models(session)] == sorted(["anvil", *BUNDLED_MODELS])


def test_versions_are_listed_newest_first(session: Session) -> None:
    for _ in range(3):
        _register(session, "one")

    assert [version.number for version in models.list_versions(session, "one")] == [3, 2, 1]


def test_the_versions_of_an_unknown_model_cannot_be_listed(session: Session) -> None:
    with pytest.raises(UnknownModelError):
        models.list_versions(session, "nope")


def test_a_version_is_found_by_the_id_that_predictions_carry(session: Session, xor: ServedVersion) -> None:
    found = models.get_version_by_id(session, xor.model_version_id)

    assert models.served(found) == xor


def _register(session: Session, name: str, **changes: Any) -> ModelVersion:
    fields: dict[str, Any] = {"kind": "classification", "config": VECTOR_CONFIG, "metrics": {}, "source": "imported"}
    return register_version(session, name=name, weights_sha256="00" * 32, weights_bytes=1, **fields | changes)
