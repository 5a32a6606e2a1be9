"""Filling the index of a version from the photos that are stored already: each is a prediction like any other."""

from collections.abc import Sequence

from sqlalchemy import Connection, text
from sqlalchemy import Engine as Database
from uuid_utils.compat import uuid7

from schemas.enums import IndexAction, Priority
from store import ledger
from store.database import open_session
from store.embeddings import MissingEmbedding, find_missing
from store.ledger_rows import Submission
from store.models import ServedVersion, list_champions

SIMILARITY = "similarity"

#: Predictions asked for in one transaction.
GROUP = 500

#: Most that one run asks for, so that it ends within seconds; the next run goes on.
RUN_LIMIT = 10_000

# Two runs at once would ask for the same photos. The lock ends with the transaction.
LOCK_ID = 7_208_006


def refresh_champions(database: Database) -> int:
    """Ask each similarity model's champion for the embeddings that its index lacks; up to `RUN_LIMIT` in all.

    A photo that a version failed on is not tried again.

    Returns:
        How many were asked for.
    """
    with open_session(database) as session:
        champions = list_champions(session, SIMILARITY)
    asked = 0
    for version in champions:
        asked += refresh_version(database, version, limit=RUN_LIMIT - asked)
    return asked


def refresh_version(database: Database, version: ServedVersion, *, limit: int, retry_failed: bool = False) -> int:
    """Ask one version for the embeddings that its index lacks and that are not on their way.

    They run at bulk priority. Safe from any number of processes.

    Args:
        database: Durable.
        version: Whose index; it need not be the champion.
        limit: Most to ask for.
        retry_failed: Whether to try photos again that it failed on.

    Returns:
        How many were asked for.
    """
    asked = 0
    while asked < limit:
        with database.begin() as connection:
            group = _find_group(connection, version, min(GROUP, limit - asked), retry_failed=retry_failed)
            if not group:
                break
            ledger.submit(connection, [_submission(version, each) for each in group])
        asked += len(group)
    return asked


def _find_group(
    connection: Connection, version: ServedVersion, limit: int, *, retry_failed: bool
) -> Sequence[MissingEmbedding]:
    connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": LOCK_ID})
    return find_missing(
        connection,
        model_id=version.model_id,
        model_version_id=version.model_version_id,
        limit=limit,
        retry_failed=retry_failed,
    )


def _submission(version: ServedVersion, missing: MissingEmbedding) -> Submission:
    return Submission(
        id=uuid7(),
        api_key_id=missing.api_key_id,
        model_id=version.model_id,
        model_version_id=version.model_version_id,
        reply_channel=None,
        priority=Priority.BULK,
        input_sha256=missing.photo_sha256,
        input_bytes=missing.photo_bytes,
        catalog=missing.catalog,
        external_id=missing.external_id,
        index_action=IndexAction.REFRESH,
    )
