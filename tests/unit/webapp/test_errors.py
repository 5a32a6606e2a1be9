"""`webapp.errors`: every error of ours has a place in the one map."""

import inspect

from store import errors as store
from webapp import errors
from webapp.errors import KINDS, WebError

#: Raised where no request is answered: at a start, in a worker, on the command line.
ELSEWHERE = {
    store.StoreError,
    store.SettingsError,
    store.ObjectMissingError,
    store.SchemaVersionError,
    # Of workers alone.
    store.StaleClaimError,
    store.OutwardError,
    store.UrlRefusedError,
    store.HostUnavailableError,
    store.AnswerRefusedError,
    # A base alone.
    errors.RefusedError,
    # Told by its number among the results of a file.
    errors.BadLineError,
    WebError,
}


def test_every_error_that_a_view_may_raise_is_in_the_map() -> None:
    ours = {
        member
        for module, base in ((store, store.StoreError), (errors, WebError))
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, base)
    }

    assert ours - ELSEWHERE == ours & set(KINDS)


def test_a_slug_means_one_status() -> None:
    assert len({(kind.slug, kind.status) for kind in KINDS.values()}) == len({kind.slug for kind in KINDS.values()})
