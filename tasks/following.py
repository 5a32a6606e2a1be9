"""Follows promotions: what is to answer next is on the device before any request asks for it."""

import threading
import time
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from ml.errors import NoRoomError
from store.database import open_session
from store.errors import ObjectsUnavailableError
from store.models import get_version_by_id
from store.switching import settle
from store.version_loading import Wanted, ask_workers, list_wanted
from tasks.errors import ModelUnavailableError
from tasks.loader import ModelLoader

log = structlog.get_logger()

#: Time between two looks: a promotion shall be everywhere within two seconds, of which web processes take one.
LOOK_EVERY_S = 0.25

#: A version that met a passing fault, such as an object store that is away, is tried again after so long.
REST_S = 2.0


class VersionFollower:
    """A thread that loads upcoming champions and challengers beside what serves, and tells how that went.

    Args:
        database: Where promotions and workers are.
        loader: Brings versions onto the device.
        tell: Renews this worker's lease, with what the loader holds and could not load.
    """

    def __init__(self, database: Database, loader: ModelLoader, tell: Callable[[], None]) -> None:
        self._database = database
        self._loader = loader
        self._tell = tell
        self._refused: set[int] = set()
        self._rests_until: dict[int, float] = {}
        self._shared_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follow", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End after the load that runs just now."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def follow(self) -> None:
        """Look once: load what is wanted, and settle what that decides.

        Raises:
            SQLAlchemyError: Postgres is away.
        """
        with open_session(self._database) as session:
            wanted = list_wanted(session)
        due = self._due(wanted)
        if due:
            # Before anything is loaded: what killed a worker is not wanted any more after this.
            for each in self._due(self._settle()):
                self._load(each)
            self._tell()
        if due or any(each.upcoming for each in wanted):
            wanted = self._settle()
        self._share({each.version_id for each in wanted if each.settled}, at_once=bool(due))

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                self.follow()
            except SQLAlchemyError as error:
                # Postgres is away; the next look tries again.
                log.warning("promotions_unread", error=str(error))
            except Exception:
                # The thread must outlive any fault, or no promotion would ever come to its end here.
                log.exception("follow_fault")

    def _settle(self) -> Sequence[Wanted]:
        with open_session(self._database) as session:
            settle(session)
            return list_wanted(session)

    def _due(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        held, now = set(self._loader.held()), time.monotonic()
        return [
            each
            for each in wanted
            if each.key not in held
            and each.version_id not in self._refused
            and self._rests_until.get(each.version_id, 0.0) <= now
        ]

    def _load(self, wanted: Wanted) -> None:
        # Told before: if it takes this process with it, the others know what it was that did.
        self._note(wanted.key, None)
        self._tell()
        try:
            # A challenger must not drive a champion out; what is upcoming may take the place of what rests.
            self._loader.ensure(wanted.version_id, evict=wanted.upcoming)
        except (SQLAlchemyError, ObjectsUnavailableError, NoRoomError) as error:
            log.warning("version_not_loaded_yet", version=wanted.key, error=str(error))
            self._rests_until[wanted.version_id] = time.monotonic() + REST_S
        except ModelUnavailableError as error:
            log.error("version_refused", version=wanted.key, error=str(error))  # noqa: TRY400 - the reason is in it
            self._refuse(wanted, str(error))
            return
        except Exception as error:
            # Whatever it was, it would be the same with the first request.
            log.exception("version_refused", version=wanted.key)
            self._refuse(wanted, f"{type(error).__name__}: {error}")
            return
        self._forget(wanted.key)

    def _refuse(self, wanted: Wanted, reason: str) -> None:
        self._refused.add(wanted.version_id)
        self._note(wanted.key, reason)

    def _note(self, key: str, failure: str | None) -> None:
        self._loader.load_failures = {**self._loader.load_failures, key: failure}

    def _forget(self, key: str) -> None:
        failures = self._loader.load_failures
        self._loader.load_failures = {name: failure for name, failure in failures.items() if name != key}

    def _share(self, unsettled: set[int], *, at_once: bool) -> None:
        """Leave the rows of versions that this device refuses to workers that hold them, or may in a moment.

        Where nobody does they are not left: they fail here with the reason rather than wait for ever.
        """
        if not self._refused or not (at_once or time.monotonic() >= self._shared_at + REST_S):
            return
        self._shared_at = time.monotonic()
        with open_session(self._database) as session:
            held = {
                version_id
                for version_id in self._refused
                if ask_workers(session, get_version_by_id(session, version_id)).holders
            }
        self._loader.left_to_others = held | (self._refused & unsettled)
