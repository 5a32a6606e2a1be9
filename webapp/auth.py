"""Who calls: `Authorization: Bearer <key>`, checked before a view runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from flask import g, request
from sqlalchemy.orm import Session

from schemas.enums import Scope
from store.keys import Principal
from webapp.errors import MissingKeyError, ScopeError
from webapp.services import KeyCache, services

SCHEME = "Bearer "

#: Read by the test that proves every route guarded, and by the spec.
SCOPE_ATTRIBUTE = "required_scope"


def require(scope: Scope) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a view run only for keys that include this scope and within their limits, and while Postgres answers.

    `principal()` then tells who calls.
    """

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            key = read_key(request.headers.get("Authorization", ""))
            ours = services()
            ours.watch.check()
            caller = authenticate(ours.keys, key, scope)
            ours.meters.enter(caller)
            g.principal = caller
            try:
                return view(*args, **kwargs)
            finally:
                ours.meters.leave(caller)

        setattr(guarded, SCOPE_ATTRIBUTE, scope)
        return guarded

    return decorate


def principal() -> Principal:
    """Return who calls the running view."""
    caller: Principal = g.principal
    return caller


def visible_to() -> int | None:
    """Return the only tenant whose rows the caller may see; None for an admin, who sees all."""
    caller = principal()
    return None if Scope.ADMIN in caller.scopes else caller.api_key_id


@contextmanager
def caller_session() -> Iterator[Session]:
    """Yield a session to read with that sees of tenants' rows only those that the caller may see."""
    with services().reading(visible_to()) as session:
        yield session


def read_key(header: str) -> str:
    """Take the key out of an `Authorization` header.

    Raises:
        MissingKeyError: The header is missing or of another scheme.
    """
    if not header.startswith(SCHEME):
        raise MissingKeyError("send your API key as `Authorization: Bearer <key>`; `torchqueue keys create` makes one")
    return header.removeprefix(SCHEME).strip()


def authenticate(keys: KeyCache, key: str, scope: Scope) -> Principal:
    """Tell who holds a key.

    Raises:
        InvalidKeyError: It is malformed, unknown, revoked or expired.
        ScopeError: It does not include the scope.
    """
    caller = keys.verify(key)
    if not caller.may(scope):
        raise ScopeError(f"this key may not do this; it takes one with the scope {scope.value!r}")
    return caller
