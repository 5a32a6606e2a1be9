"""The place between a statement and its answer, with real Postgres."""

import subprocess
import sys
from pathlib import Path

from sqlalchemy import Engine, text

from store.failpoints import VARIABLE
from tests.running import wait_until

WRITE = """
import sys
from sqlalchemy import create_engine, text
from store.failpoints import hit_when_sent
with create_engine(sys.argv[1]).execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
    hit_when_sent("sent")
    insert = text("INSERT INTO items (catalog, external_id, last_seen_at) VALUES ('failpoint', :name, now())")
    connection.execute(insert, {"name": sys.argv[2]})
print("answered")
"""


def write(database: Engine, name: str, armed: str) -> str:
    url = database.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", WRITE, url, name],
        env={VARIABLE: armed, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def is_written(database: Engine, name: str) -> bool:
    with database.connect() as connection:
        found = connection.execute(text("SELECT 1 FROM items WHERE external_id = :name"), {"name": name})
        return found.one_or_none() is not None


def test_an_armed_process_reads_and_writes_as_any_other(database: Engine) -> None:
    assert write(database, "armed-elsewhere", "elsewhere:kill") == "answered"
    assert is_written(database, "armed-elsewhere")


def test_a_process_that_dies_before_the_answer_has_sent_its_statement(database: Engine) -> None:
    assert write(database, "died-waiting", "sent:kill") == ""
    wait_until(lambda: is_written(database, "died-waiting"))
