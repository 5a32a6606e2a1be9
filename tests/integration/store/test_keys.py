"""`store.keys`: who may call."""

from datetime import timedelta
from zlib import crc32

import pytest
from sqlalchemy.orm import Session

from schemas.enums import Scope
from store.errors import InvalidKeyError, UnknownKeyError
from store.keys import create_key, list_keys, revoke_key, verify_key


def test_a_new_key_tells_who_calls(session: Session) -> None:
    row, key = create_key(session, name="shop", scopes=[Scope.PREDICT, Scope.READ])

    caller = verify_key(session, key)

    assert (caller.api_key_id, caller.public_id) == (row.id, row.public_id)
    assert caller.scopes == {Scope.PREDICT, Scope.READ}


def test_the_secret_is_not_stored(session: Session) -> None:
    row, key = create_key(session, name="shop", scopes=[])

    secret = key.split("_")[2]
    assert secret not in str(vars(row))


def test_a_key_may_do_what_its_scopes_say(session: Session) -> None:
    _, key = create_key(session, name="shop", scopes=[Scope.READ])

    caller = verify_key(session, key)

    assert [scope for scope in Scope if caller.may(scope)] == [Scope.READ]


def test_an_admin_key_may_do_everything(session: Session) -> None:
    _, key = create_key(session, name="shop", scopes=[Scope.ADMIN])

    assert all(verify_key(session, key).may(scope) for scope in Scope)


def test_a_key_with_another_keys_secret_is_refused(session: Session) -> None:
    (one, _), (_, other_key) = (create_key(session, name="shop", scopes=[]) for _ in range(2))

    with pytest.raises(InvalidKeyError, match="unknown, revoked or expired"):
        verify_key(session, _rebuild(one.public_id, other_key.split("_")[2]))


def test_an_unknown_key_is_refused(session: Session) -> None:
    with pytest.raises(InvalidKeyError, match="unknown, revoked or expired"):
        verify_key(session, _rebuild("a" * 10, "b" * 43))


def test_a_revoked_key_is_refused(session: Session) -> None:
    row, key = create_key(session, name="shop", scopes=[])
    revoke_key(session, row.public_id)

    with pytest.raises(InvalidKeyError, match="unknown, revoked or expired"):
        verify_key(session, key)


def test_an_expired_key_is_refused(session: Session) -> None:
    _, key = create_key(session, name="shop", scopes=[], expires_in=timedelta(0))

    with pytest.raises(InvalidKeyError, match="unknown, revoked or expired"):
        verify_key(session, key)


def test_a_key_works_before_it_expires(session: Session) -> None:
    _, key = create_key(session, name="shop", scopes=[], expires_in=timedelta(minutes=1))

    assert verify_key(session, key)


def test_a_key_that_is_revoked_twice_stays_revoked_since_the_first_time(session: Session) -> None:
    row, _ = create_key(session, name="shop", scopes=[])
    revoke_key(session, row.public_id)
    session.refresh(row)
    first = row.revoked_at

    revoke_key(session, row.public_id)
    session.refresh(row)

    assert row.revoked_at == first is not None


def test_a_key_that_does_not_exist_cannot_be_revoked(session: Session) -> None:
    with pytest.raises(UnknownKeyError, match="nobody"):
        revoke_key(session, "nobody")


def test_keys_are_listed_oldest_first(session: Session) -> None:
    ids = [create_key(session, name=name, scopes=[])[0].id for name in ("one", "two")]

    assert [row.id for row in list_keys(session)][-2:] == ids


def _rebuild(public_id: str, secret: str) -> str:
    body = f"tq_{public_id}_{secret}"
    return f"{body}_{crc32(body.encode()):08x}"
