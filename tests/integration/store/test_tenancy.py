"""`store.tenancy`: the wall that stands behind forgotten conditions."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

from store import ledger
from store.database import open_session
from store.models import ServedVersion
from store.partitions import partition_names
from store.predictions import PredictionFilter, list_predictions
from store.settings import Settings
from store.tables import metadata
from store.tenancy import TENANT_ROLE, create_tenant_database, open_tenant_session
from tests.factories import OTHER_TENANT, TENANT, Rows, give_feedback, success

#: Rows with a key that are not a tenant's to read: who acted, and what a key was.
NOT_TENANTS = {"audit_log", "retired_secrets"}

#: Hidden by the row that they hang on.
HANGING = {
    "feedback_history",
    "backtest_items",
    "training_examples",
    "embeddings",
    "redrives",
    "webhook_deliveries",
    "webhook_attempts",
}

PROTECTED = sorted({name for name, table in metadata.tables.items() if "api_key_id" in table.c} - NOT_TENANTS | HANGING)


@pytest.fixture(scope="module")
def tenants(settings: Settings, database: Engine) -> Iterator[Engine]:  # noqa: ARG001 - migrated by it
    """Connections as web processes have them for tenants."""
    engine = create_tenant_database(settings.database_url, pool_size=2)
    yield engine
    engine.dispose()


@pytest.fixture
def two_tenants(committed: Rows) -> Rows:
    """A row of every kind that hangs on predictions, for each of two tenants."""
    for tenant in (TENANT, OTHER_TENANT):
        ids = committed.add_many(2, api_key_id=tenant, catalog="shop", external_id=str(tenant), idempotency_key=None)
        committed.add(api_key_id=tenant, idempotency_key=f"key-{tenant}", request_sha256="00")
        ledger.complete(committed.connection, [success(claim) for claim in committed.claim_all()])
        for label in ("0", "1"):
            give_feedback(committed.connection, dict.fromkeys(ids, label))
    return committed


@pytest.mark.parametrize("table", ["predictions", "feedback", "idempotency_keys"])
def test_a_forgotten_condition_shows_a_tenant_its_own_rows_alone(
    tenants: Engine, two_tenants: Rows, table: str
) -> None:
    everybodys = _tenants_in(two_tenants.connection, table)

    with open_tenant_session(tenants, TENANT) as session:
        seen = _tenants_in(session.connection(), table)

    assert everybodys == {TENANT, OTHER_TENANT}
    assert seen == {TENANT}


def test_what_hangs_on_a_hidden_row_is_hidden(tenants: Engine, two_tenants: Rows) -> None:
    count = text("SELECT count(*) FROM feedback_history")

    with open_tenant_session(tenants, TENANT) as session:
        assert session.scalar(count) * 2 == two_tenants.connection.scalar(count)


def test_a_list_without_its_tenant_lists_the_tenants_own(tenants: Engine, two_tenants: Rows) -> None:  # noqa: ARG001
    with open_tenant_session(tenants, OTHER_TENANT) as session:
        found = list_predictions(session, PredictionFilter(), api_key_id=None, before=None, limit=50)

    assert {row.api_key_id for row in found} == {OTHER_TENANT}


def test_who_names_no_tenant_sees_nothing(tenants: Engine, two_tenants: Rows) -> None:  # noqa: ARG001 - the rows
    with open_session(tenants) as session:
        assert _tenants_in(session.connection(), "predictions") == set()


def test_a_connection_forgets_its_tenant_with_the_transaction(tenants: Engine, two_tenants: Rows) -> None:  # noqa: ARG001
    with tenants.connect() as connection:
        with connection.begin():
            connection.execute(text("SELECT set_config('torchqueue.api_key_id', '1', true)"))
            assert _tenants_in(connection, "predictions") == {TENANT}
        with connection.begin():
            assert _tenants_in(connection, "predictions") == set()


@pytest.mark.parametrize("table", ["api_keys", "retired_secrets", "audit_log", "decisions"])
def test_a_tenant_cannot_read_what_is_nobodys(tenants: Engine, table: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), open_tenant_session(tenants, TENANT) as session:
        session.execute(text(f"SELECT * FROM {table}"))


def test_there_is_no_way_around_by_a_partition(tenants: Engine, database: Engine) -> None:
    with database.connect() as connection:
        partition = partition_names(connection)[0]

    with pytest.raises(ProgrammingError, match="permission denied"), open_tenant_session(tenants, TENANT) as session:
        session.execute(text(f"SELECT * FROM {partition}"))


@pytest.mark.parametrize(
    "statement", ["DELETE FROM predictions", "UPDATE predictions SET api_key_id = 1", "DELETE FROM models"]
)
def test_a_tenant_changes_nothing(tenants: Engine, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), open_tenant_session(tenants, TENANT) as session:
        session.execute(text(statement))


def test_the_owner_sees_every_tenant(two_tenants: Rows) -> None:
    assert _tenants_in(two_tenants.connection, "predictions") == {TENANT, OTHER_TENANT}


@pytest.mark.parametrize("table", PROTECTED)
def test_every_table_with_rows_of_tenants_is_behind_the_wall(connection: Connection, table: str) -> None:
    found = connection.execute(
        text(
            "SELECT c.relrowsecurity, (SELECT count(*) FROM pg_policies p WHERE p.tablename = c.relname "
            "AND :role = ANY (p.roles)) AS policies FROM pg_class c WHERE c.oid = CAST(:table AS regclass)"
        ),
        {"role": TENANT_ROLE, "table": table},
    ).one()

    assert found.relrowsecurity
    assert found.policies == 1


def test_nobody_can_log_in_as_a_tenant(connection: Connection) -> None:
    found = connection.execute(
        text("SELECT rolcanlogin, rolbypassrls, rolsuper FROM pg_roles WHERE rolname = :role"), {"role": TENANT_ROLE}
    ).one()

    assert tuple(found) == (False, False, False)


def test_a_statement_that_many_tenants_share_is_not_hindered(committed: Rows, xor: ServedVersion) -> None:
    for tenant in (TENANT, OTHER_TENANT):
        committed.add(api_key_id=tenant)

    assert {each.model_version_id for each in committed.claim_all()} == {xor.model_version_id}


def _tenants_in(connection: Connection, table: str) -> set[Any]:
    return set(connection.execute(text(f"SELECT api_key_id FROM {table}")).scalars())
