"""What `store.keys` refuses without asking the database."""

from unittest.mock import create_autospec

import pytest
from sqlalchemy.orm import Session

from store.errors import InvalidKeyError
from store.keys import verify_key

MISTYPED = [
    "",
    "nonsense",
    "tq_abc_def",
    "tq_abc_def_00000000",
    "xx_abc_def_3b5d5c37",
    "tq_abc_3b5d5c37",
    "tq_\u00e4_\u00f6_00000000",
]


@pytest.mark.parametrize("key", MISTYPED)
def test_a_mistyped_key_is_refused_without_a_query(key: str) -> None:
    session = create_autospec(Session, instance=True, spec_set=True)

    with pytest.raises(InvalidKeyError, match="not an API key of torchqueue"):
        verify_key(session, key)

    assert session.mock_calls == []
