"""`store.keys`: who may call."""

from datetime import timedelta
from zlib import crc32

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from schemas.enums import Scope
from store.errors import InvalidKeyError, UnknownKeyError
from store.keys import create_key, list_keys, public_id_of, revoke_key, rotate_key, verify_key


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


def test_a_rotated_key_has_two_secrets_for_its_grace(session: Session) -> None:
    row, old = create_key(session, name="shop", scopes=[Scope.READ])

    same, new = rotate_key(session, row.public_id, grace=timedelta(hours=1))

    assert same.id == row.id
    assert verify_key(session, old) == verify_key(session, new)


def test_a_retired_secret_ends_with_its_grace(session: Session) -> None:
    row, old = create_key(session, name="shop", scopes=[])
    _, new = rotate_key(session, row.public_id, grace=timedelta(microseconds=1))
    session.execute(text("UPDATE retired_secrets SET expires_at = now() - interval '1 second'"))

    assert verify_key(session, new)
    with pytest.raises(InvalidKeyError):
        verify_key(session, old)


def test_a_key_may_be_rotated_again_within_its_grace(session: Session) -> None:
    row, first = create_key(session, name="shop", scopes=[])

    _, second = rotate_key(session, row.public_id, grace=timedelta(hours=1))
    _, third = rotate_key(session, row.public_id, grace=timedelta(hours=1))

    assert len({verify_key(session, key) for key in (first, second, third)}) == 1


def test_secrets_that_are_over_are_removed_by_the_next_rotation(session: Session) -> None:
    row, _ = create_key(session, name="shop", scopes=[])
    rotate_key(session, row.public_id, grace=timedelta(hours=1))
    session.execute(text("UPDATE retired_secrets SET expires_at = now() - interval '1 second'"))

    rotate_key(session, row.public_id, grace=timedelta(hours=1))

    assert session.scalar(text("SELECT count(*) FROM retired_secrets WHERE api_key_id = :id"), {"id": row.id}) == 1


def test_a_key_that_was_used_lately_is_not_written_again(session: Session) -> None:
    row, key = create_key(session, name="shop", scopes=[])
    verify_key(session, key)
    session.refresh(row)
    used_at = row.last_used_at
    session.execute(text("UPDATE api_keys SET last_used_at = last_used_at - interval '30 seconds'"))

    verify_key(session, key)
    session.refresh(row)

    assert used_at is not None
    assert row.last_used_at == used_at - timedelta(seconds=30)


def test_the_part_of_a_key_that_may_be_shown_is_read_from_it(session: Session) -> None:
    row, key = create_key(session, name="shop", scopes=[])

    assert public_id_of(key) == row.public_id
    assert public_id_of("nothing of ours") == ""
