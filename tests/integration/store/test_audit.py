"""`store.audit`: only ever added to, whoever tries otherwise."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from schemas.enums import AuditAction
from store.audit import COMMAND, list_actions, record_action


def test_an_action_is_kept_with_what_it_was_and_what_it_became(session: Session) -> None:
    record_action(session, AuditAction.UPDATE_KEY, "keys/a", COMMAND, before={"burst": None}, after={"burst": 3})

    [(entry, key)] = list_actions(session, limit=1)

    assert (entry.action, entry.subject, entry.actor, key) == ("update_key", "keys/a", "command line", None)
    assert (entry.before, entry.after) == ({"burst": None}, {"burst": 3})


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
def test_the_log_is_never_changed(session: Session, statement: str) -> None:
    record_action(session, AuditAction.CREATE_KEY, "keys/a", COMMAND)

    with pytest.raises(ProgrammingError, match="only ever added to"):
        session.execute(text(statement))
