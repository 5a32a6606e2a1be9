"""`store.prepared`: statements that SQLAlchemy writes, planned once a connection."""

from sqlalchemy import Connection, select, text
from sqlalchemy.orm import Session

from store.predictions import PredictionFilter, list_predictions
from store.prepared import INFO_KEY
from store.tables.model import Model
from tests.factories import Rows

PREPARED = text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%models.name%'")


def test_a_statement_is_prepared_once_for_all_its_parameters(connection: Connection) -> None:
    before = connection.execute(PREPARED).scalar_one()

    found = [
        connection.execute(
            select(Model.name).where(Model.name == name).execution_options(prepared=True)
        ).scalar_one_or_none()
        for name in ("xor", "fashion", "nope")
    ]

    assert found == ["xor", "fashion", None]
    assert connection.execute(PREPARED).scalar_one() - before in (0, 1)
    assert any(name.startswith("select_") for name in connection.info[INFO_KEY])


def test_a_percent_sign_and_a_quote_reach_the_server_as_they_are(connection: Connection) -> None:
    names = select(Model.name).where(Model.name.like("%or"), Model.name != "it's", text("'10%' LIKE '1%'"))

    assert connection.execute(names.execution_options(prepared=True)).scalar_one() == "xor"


def test_a_parameter_that_occurs_twice_is_one(connection: Connection) -> None:
    statement = text("SELECT CAST(:n AS integer) + CAST(:n AS integer)")

    found = connection.execute(statement, {"n": 21}, execution_options={"prepared": True})

    assert found.scalar_one() == 42


def test_pages_of_any_length_share_few_statements(rows: Rows, session: Session) -> None:
    rows.add_many(5)
    list_predictions(session, PredictionFilter(), api_key_id=None, before=None, limit=20)
    known = len(session.connection().info[INFO_KEY])

    lengths = [
        len(list_predictions(session, PredictionFilter(), api_key_id=None, before=None, limit=n)) for n in (1, 3, 19)
    ]

    assert lengths == [1, 3, 5]
    assert len(session.connection().info[INFO_KEY]) == known
