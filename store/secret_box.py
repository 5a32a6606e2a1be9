"""Secrets at rest: AES-GCM under one key of the installation, bound to the row that they belong to."""

import base64
import binascii
import os
import secrets
from pathlib import Path
from typing import Self
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from store.errors import WebhookKeyError

KEY_BYTES = 32

#: As the standard advises; random, since one key seals far fewer secrets than would let two of them meet.
NONCE_BYTES = 12

#: For the owner alone.
PRIVATE_MODE = 0o600


class SecretBox:
    """Seals secrets before they are stored.

    Args:
        key: 32 bytes as base64.

    Raises:
        WebhookKeyError: It is none.
    """

    def __init__(self, key: str) -> None:
        try:
            raw = base64.b64decode(key, validate=True)
        except (binascii.Error, ValueError) as error:
            raise WebhookKeyError("TORCHQUEUE_WEBHOOK_KEY is no base64") from error
        if len(raw) != KEY_BYTES:
            raise WebhookKeyError(f"TORCHQUEUE_WEBHOOK_KEY has {len(raw)} bytes, not {KEY_BYTES}")
        self._cipher = AESGCM(raw)

    @classmethod
    def open_with(cls, key: str) -> Self:
        """Make a box of what the settings hold.

        Raises:
            WebhookKeyError: They hold no key, or a malformed one.
        """
        if not key:
            raise WebhookKeyError(
                "no key for webhook secrets is set; make one with `openssl rand -base64 32` and set "
                "TORCHQUEUE_WEBHOOK_KEY in every process"
            )
        return cls(key)

    def seal(self, secret: str, owner: UUID) -> bytes:
        """Encrypt a secret so that it opens for this row alone."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), owner.bytes)

    def open(self, sealed: bytes, owner: UUID) -> str:
        """Decrypt the secret of a row.

        Raises:
            WebhookKeyError: It was sealed with another key, for another row, or is damaged.
        """
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], owner.bytes).decode()
        except (InvalidTag, ValueError) as error:
            raise WebhookKeyError("its secret does not open: TORCHQUEUE_WEBHOOK_KEY is another than it was") from error


def ensure_key_file(path: Path) -> None:
    """Make a key once and keep it in a file that only its owner can read."""
    if not path.exists():
        path.touch(mode=PRIVATE_MODE)
        path.write_text(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n")
