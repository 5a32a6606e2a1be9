"""API keys: made once, shown once, checked by hash.

A key reads `tq_<public id>_<secret>_<crc32>`: the prefix and the checksum let secret scanners find a leaked one
without false alarms, and let us refuse a mistyped one without asking the database.
"""

import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from hmac import compare_digest
from zlib import crc32

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from schemas.enums import Scope
from store.errors import InvalidKeyError, UnknownKeyError
from store.tables.api_key import ApiKey

PREFIX = "tq"
PUBLIC_ID_LENGTH = 10

# 43 of 62 characters carry 256 bits.
SECRET_LENGTH = 43

BASE62 = string.digits + string.ascii_letters


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
    session: Session, *, name: str, scopes: Sequence[Scope], expires_in: timedelta | None = None
) -> tuple[ApiKey, str]:
    """Make a key.

    Returns:
        The row, and the whole key: the only time that anybody sees it.
    """
    public_id, secret = _random(PUBLIC_ID_LENGTH), _random(SECRET_LENGTH)
    body = f"{PREFIX}_{public_id}_{secret}"
    row = ApiKey(
        public_id=public_id,
        secret_sha256=_hash(secret),
        name=name,
        scopes=[str(scope) for scope in scopes],
        expires_at=None if expires_in is None else func.now() + expires_in,
    )
    session.add(row)
    session.flush()
    return row, f"{body}_{_checksum(body)}"


def verify_key(session: Session, key: str) -> Principal:
    """Return who holds this key.

    Raises:
        InvalidKeyError: It is malformed, unknown, revoked or expired. The message does not say which of the
            last three to a guesser: all of them read alike.
    """
    public_id, secret = _split(key)
    live = (ApiKey.revoked_at.is_(None)) & (ApiKey.expires_at.is_(None) | (ApiKey.expires_at > func.now()))
    row = session.scalar(select(ApiKey).where(ApiKey.public_id == public_id, live))
    # Compare against a constant when there is no row, so that both answers take as long.
    if not compare_digest(row.secret_sha256 if row else _hash(""), _hash(secret)) or row is None:
        raise InvalidKeyError("this API key is unknown, revoked or expired")
    return Principal(row.id, row.public_id, frozenset(Scope(scope) for scope in row.scopes), row.name, limits_of(row))


def limits_of(row: ApiKey) -> KeyLimits | None:
    """Return how much a key may ask for; None where nothing is limited."""
    limits = KeyLimits(
        rate_per_minute=row.rate_per_minute,
        burst=row.burst,
        max_concurrent=row.max_concurrent,
        max_queued=row.max_queued,
    )
    return None if limits == UNLIMITED else limits


def revoke_key(session: Session, public_id: str) -> None:
    """Revoke a key; every process forgets it within its cache time.

    Raises:
        UnknownKeyError: There is no such key.
    """
    changed = session.scalar(
        update(ApiKey)
        .where(ApiKey.public_id == public_id)
        .values(revoked_at=func.coalesce(ApiKey.revoked_at, func.now()))
        .returning(ApiKey.id)
    )
    if changed is None:
        raise UnknownKeyError(f"there is no API key with the id {public_id!r}; `torchqueue keys list` shows them")


def list_keys(session: Session) -> Sequence[ApiKey]:
    """List all keys, oldest first."""
    return session.scalars(select(ApiKey).order_by(ApiKey.id)).all()


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
