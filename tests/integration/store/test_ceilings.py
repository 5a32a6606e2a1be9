"""`store.ceilings`: what workers found out about memory."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from store.ceilings import KnownCeiling, known_ceilings, remember_ceiling
from store.models import ServedVersion
from tests.factories import add_model

KIND = "cpu 16 GiB"


def _remember(session: Session, version: ServedVersion, items: int, *, shape: str = "2", kind: str = KIND) -> None:
    remember_ceiling(
        session,
        model_version_id=version.model_version_id,
        device_kind=kind,
        shape=shape,
        items=items,
        failures=1,
    )


def test_nothing_is_known_at_first(session: Session, xor: ServedVersion) -> None:
    assert known_ceilings(session, xor.model_version_id, KIND) == {}


def test_what_was_remembered_is_known_by_shape(session: Session, xor: ServedVersion) -> None:
    _remember(session, xor, 16)
    _remember(session, xor, 8, shape="4")

    assert known_ceilings(session, xor.model_version_id, KIND) == {"2": KnownCeiling(16, 1), "4": KnownCeiling(8, 1)}


def test_what_is_remembered_last_is_believed(session: Session, xor: ServedVersion) -> None:
    _remember(session, xor, 16)
    _remember(session, xor, 32)

    assert known_ceilings(session, xor.model_version_id, KIND)["2"].items == 32


def test_other_devices_and_versions_know_nothing_of_it(session: Session, xor: ServedVersion) -> None:
    other = add_model(session, "other")
    _remember(session, xor, 16)

    assert known_ceilings(session, xor.model_version_id, "cpu 8 GiB") == {}
    assert known_ceilings(session, other.model_version_id, KIND) == {}


def test_a_ceiling_goes_with_its_version(session: Session) -> None:
    version = add_model(session, "gone")
    _remember(session, version, 16)

    session.execute(text("UPDATE models SET champion_id = NULL WHERE id = :id"), {"id": version.model_id})
    session.execute(text("DELETE FROM decisions WHERE model_id = :id"), {"id": version.model_id})
    session.execute(text("DELETE FROM model_versions WHERE id = :id"), {"id": version.model_version_id})

    assert known_ceilings(session, version.model_version_id, KIND) == {}
