"""API keys: made once, shown once, checked by hash.

A key reads `tq_<public id>_<secret>_<crc32>`: the prefix and the checksum let secret scanners find a leaked one
without false alarms, and let us refuse a mistyped one without asking the database.
"""

import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from hashlib import sha256
from hmac import compare_digest
from typing import Any
from zlib import crc32

from sqlalchemy import Text, delete, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from schemas.enums import Scope
from store.errors import InvalidKeyError, KeyStateError, UnknownKeyError
from store.tables.api_key import ApiKey, RetiredSecret

PREFIX = "tq"
PUBLIC_ID_LENGTH = 10

# 43 of 62 characters carry 256 bits.
SECRET_LENGTH = 43

BASE62 = string.digits + string.ascii_letters

#: How exactly it is noted when a key was used last; more would write with every request.
USE_NOTED_EVERY = timedelta(minutes=1)

#: Columns that may change during a key's life.
CHANGEABLE = frozenset({"name", "scopes", "expires_at", "rate_per_minute", "burst", "max_concurrent", "max_queued"})

_IS_OVER = RetiredSecret.expires_at <= func.now()

# The earlier secrets that still work: none, or one or two.
_RETIRED = func.array(
    select(RetiredSecret.secret_sha256)
    .where(RetiredSecret.api_key_id == ApiKey.id, ~_IS_OVER)
    .correlate(ApiKey)
    .scalar_subquery(),
    type_=ARRAY(Text),
)

_USED_LATELY = func.coalesce(ApiKey.last_used_at > func.now() - USE_NOTED_EVERY, False)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyLimits:
    """How much one key may ask for.

    Attributes:
        rate_per_minute: Requests in a minute, in the mean; None: unlimited.
        burst: Requests at once before that mean counts; None: as many as in a minute.
        max_concurrent: Requests under way at once; None: unlimited.
        max_queued: Predictions that wait at once; None: unlimited.
    """

    rate_per_minute: int | None = None
    burst: int | None = None
    max_concurrent: int | None = None
    max_queued: int | None = None


UNLIMITED = KeyLimits()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, as far as the key says.

    Attributes:
        api_key_id: The tenant.
        public_id: The part of the key that may be shown.
        scopes: What it may do.
        name: What the owner calls it.
        limits: How much it may ask for; None: of everything as much as it likes.
    """

    api_key_id: int
    public_id: str
    scopes: frozenset[Scope]
    name: str
    limits: KeyLimits | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the key's scopes include this one."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


def create_key(
    session: Session,
    *,
    name: str,
    scopes: Sequence[Scope],
    expires_in: timedelta | None = None,
    limits: KeyLimits = UNLIMITED,
) -> tuple[ApiKey, str]:
    """Make a key.

    Returns:
        The row, and the whole key: the only time that anybody sees it.
    """
    public_id, secret = _random(PUBLIC_ID_LENGTH), _random(SECRET_LENGTH)
    row = ApiKey(
        public_id=public_id,
        secret_sha256=_hash(secret),
        name=name,
        scopes=[str(scope) for scope in scopes],
        expires_at=None if expires_in is None else func.now() + expires_in,
        **asdict(limits),
    )
    session.add(row)
    session.flush()
    return row, _assemble(public_id, secret)


def verify_key(session: Session, key: str) -> Principal:
    """Return who holds this key. Notes once a minute that it was used.

    Raises:
        InvalidKeyError: It is malformed, unknown, revoked or expired. The message does not say which of the
            last three to a guesser: all of them read alike.
    """
    public_id, secret = _split(key)
    live = (ApiKey.revoked_at.is_(None)) & (ApiKey.expires_at.is_(None) | (ApiKey.expires_at > func.now()))
    found = session.execute(
        select(ApiKey, _RETIRED, _USED_LATELY).where(ApiKey.public_id == public_id, live)
    ).one_or_none()
    # Compare against a constant when there is no row, so that both answers take as long.
    secrets_of_row = [_hash("")] if found is None else [found[0].secret_sha256, *found[1]]
    digest = _hash(secret)
    # All of them, whichever fits.
    fits = [compare_digest(each, digest) for each in secrets_of_row]
    if found is None or True not in fits:
        raise InvalidKeyError("this API key is unknown, revoked or expired")
    row: ApiKey = found[0]
    if not found[2]:
        session.execute(update(ApiKey).where(ApiKey.id == row.id).values(last_used_at=func.now()))
    return Principal(row.id, row.public_id, frozenset(Scope(scope) for scope in row.scopes), row.name, limits_of(row))


def limits_of(row: ApiKey) -> KeyLimits | None:
    """Return how much a key may ask for; None where nothing is limited."""
    limits = KeyLimits(**{field.name: getattr(row, field.name) for field in fields(KeyLimits)})
    return None if limits == UNLIMITED else limits


def update_key(session: Session, public_id: str, changes: Mapping[str, Any]) -> ApiKey:
    """Change what a key may do, how much and how long. Its secret and its tenant's data stay.

    Args:
        session: Where.
        public_id: Which.
        changes: Columns by name: name, scopes, expires_at and those of `KeyLimits`. What is left out stays.

    Raises:
        UnknownKeyError: There is no such key.
    """
    row = get_key(session, public_id, lock=True)
    for column, value in changes.items():
        assert column in CHANGEABLE, column
        setattr(row, column, value)
    session.flush()
    return row


def rotate_key(session: Session, public_id: str, *, grace: timedelta) -> tuple[ApiKey, str]:
    """Give a key another secret. The tenant stays, and with it all that belongs to it.

    Args:
        session: Where.
        public_id: Which.
        grace: How long the secret of until now works beside the new one; zero ends it at once.

    Returns:
        The row, and the whole new key: the only time that anybody sees it.

    Raises:
        UnknownKeyError: There is no such key.
        KeyStateError: It is revoked.
    """
    row = get_key(session, public_id, lock=True)
    if row.revoked_at is not None:
        raise KeyStateError(f"the API key {public_id!r} is revoked; make another one")
    session.execute(delete(RetiredSecret).where(RetiredSecret.api_key_id == row.id, _IS_OVER))
    if grace > timedelta(0):
        session.add(RetiredSecret(api_key_id=row.id, secret_sha256=row.secret_sha256, expires_at=func.now() + grace))
    secret = _random(SECRET_LENGTH)
    row.secret_sha256, row.rotated_at = _hash(secret), func.now()
    session.flush()
    session.refresh(row)
    return row, _assemble(public_id, secret)


def revoke_key(session: Session, public_id: str) -> ApiKey:
    """Revoke a key and every secret that it ever had. `publish_keys` tells the processes that remember it.

    Raises:
        UnknownKeyError: There is no such key.
    """
    row = get_key(session, public_id, lock=True)
    if row.revoked_at is None:
        row.revoked_at = func.now()
        session.flush()
        session.refresh(row)
    return row


def get_key(session: Session, public_id: str, *, lock: bool = False) -> ApiKey:
    """Return a key by the part of it that may be shown.

    Raises:
        UnknownKeyError: There is no such key.
    """
    statement = select(ApiKey).where(ApiKey.public_id == public_id)
    row = session.scalar(statement.with_for_update() if lock else statement)
    if row is None:
        raise UnknownKeyError(f"there is no API key with the id {public_id!r}; `torchqueue keys list` shows them")
    return row


def list_keys(session: Session, *, after: int = 0, limit: int | None = None) -> Sequence[ApiKey]:
    """List keys, oldest first.

    Args:
        session: Where.
        after: Go on after the key with this number.
        limit: Most to return; None for all.
    """
    return session.scalars(select(ApiKey).where(ApiKey.id > after).order_by(ApiKey.id).limit(limit)).all()


def public_id_of(key: str) -> str:
    """Return the part of a key that may be shown; empty where it has none."""
    return key.split("_")[1] if key.startswith(f"{PREFIX}_") and key.count("_") == 3 else ""


def _assemble(public_id: str, secret: str) -> str:
    body = f"{PREFIX}_{public_id}_{secret}"
    return f"{body}_{_checksum(body)}"


def _split(key: str) -> tuple[str, str]:
    body, _, checksum = key.rpartition("_")
    parts = body.split("_")
    if len(parts) != 3 or parts[0] != PREFIX or checksum != _checksum(body):
        raise InvalidKeyError("this is not an API key of torchqueue; it reads tq_<id>_<secret>_<checksum>")
    return parts[1], parts[2]


def _checksum(body: str) -> str:
    return f"{crc32(body.encode()):08x}"


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _random(length: int) -> str:
    return "".join(secrets.choice(BASE62) for _ in range(length))
