"""The second wall between tenants: a role of the database that sees the rows of one tenant, whatever is asked.

The first wall is each statement's own condition. Row-level security (migration 0020) stands behind it for the reads of
tenants: who forgets the condition reads nothing of others. Group commits of many tenants, workers and admins use the
owner's connections, to which no policy applies. See docs/decisions/0013-row-level-security.md.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from store.database import create_database, open_session
from store.prepared import PreparedStatement

#: Made by migration 0020. Nobody can log in as it; the owner steps down to it.
TENANT_ROLE = "torchqueue_tenant"

#: What the policies compare with. Without it nothing is seen.
TENANT_SETTING = "torchqueue.api_key_id"

# Local to the transaction: a connection that goes back to its pool is nobody's.
_BECOME = PreparedStatement(
    "become_tenant", f"SELECT set_config('{TENANT_SETTING}', CAST(:api_key_id AS bigint)::text, true)"
)


def create_tenant_database(url: str, *, pool_size: int) -> Engine:
    """Make an engine whose connections see nothing of any tenant until `open_tenant_session` says of which.

    A pool of its own, rather than stepping down for each transaction: a plan is made for one role, so that connections
    that change theirs would plan their statements again and again.
    """
    return create_database(url, application="web-tenants", pool_size=pool_size, role=TENANT_ROLE)


@contextmanager
def open_tenant_session(tenants: Engine, api_key_id: int) -> Iterator[Session]:
    """Yield a session that sees the rows of one tenant, and what belongs to none.

    Args:
        tenants: Of `create_tenant_database`.
        api_key_id: The tenant.
    """
    with open_session(tenants) as session:
        _BECOME.run(session.connection(), api_key_id=api_key_id)
        yield session
