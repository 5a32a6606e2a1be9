"""`store.secret_box`: secrets at rest open with their key, for their row, and for nothing else."""

import base64
import stat
from pathlib import Path
from uuid import uuid4

import pytest

from store.errors import WebhookKeyError
from store.secret_box import SecretBox, ensure_key_file
from tests.sinks import WEBHOOK_KEY

OTHER_KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture
def box() -> SecretBox:
    return SecretBox(WEBHOOK_KEY)


def test_a_sealed_secret_opens_for_its_row(box: SecretBox) -> None:
    owner = uuid4()

    assert box.open(box.seal("whsec_abc", owner), owner) == "whsec_abc"


def test_what_is_stored_does_not_hold_the_secret(box: SecretBox) -> None:
    assert b"whsec" not in box.seal("whsec_abc", uuid4())


def test_the_same_secret_is_never_sealed_alike(box: SecretBox) -> None:
    owner = uuid4()

    assert box.seal("whsec_abc", owner) != box.seal("whsec_abc", owner)


def test_a_secret_that_was_copied_to_another_row_does_not_open(box: SecretBox) -> None:
    sealed = box.seal("whsec_abc", uuid4())

    with pytest.raises(WebhookKeyError, match="another than it was"):
        box.open(sealed, uuid4())


def test_another_key_opens_nothing(box: SecretBox) -> None:
    owner = uuid4()

    with pytest.raises(WebhookKeyError):
        SecretBox(OTHER_KEY).open(box.seal("whsec_abc", owner), owner)


def test_a_secret_that_was_erased_does_not_open(box: SecretBox) -> None:
    with pytest.raises(WebhookKeyError):
        box.open(b"", uuid4())


@pytest.mark.parametrize(("key", "problem"), [("no base64!", "no base64"), ("c2hvcnQ=", "has 5 bytes, not 32")])
def test_what_is_no_key_is_refused(key: str, problem: str) -> None:
    with pytest.raises(WebhookKeyError, match=problem):
        SecretBox.open_with(key)


def test_a_missing_key_is_told_how_to_make_one() -> None:
    with pytest.raises(WebhookKeyError, match="openssl rand -base64 32"):
        SecretBox.open_with("")


def test_a_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "webhook.key"

    ensure_key_file(path)
    first = path.read_text()
    ensure_key_file(path)

    assert path.read_text() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    SecretBox(first.strip())
