"""Content-addressed object store: inputs and weights under the SHA-256 of their bytes, in a folder or in S3."""

from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore as Backend
from obstore.store import from_url

from store.errors import ObjectMissingError, ObjectsUnavailableError

if TYPE_CHECKING:
    # It exists for type checkers alone.
    from obstore.store import RetryConfig

# The library's own patience is three minutes; a request would be given up long before.
REMOTE_TIMEOUT = timedelta(seconds=5)
RETRIES: "RetryConfig" = {"max_retries": 2, "retry_timeout": timedelta(seconds=5)}


class ObjectStore:
    """Bytes by their SHA-256. Storing the same bytes twice is storing them once.

    Args:
        url: `file:///folder`, which is made when it is missing, or `s3://bucket/prefix` with the usual AWS variables.
    """

    def __init__(self, url: str) -> None:
        if url.startswith("file://"):
            self._backend: Backend = from_url(url, automatic_cleanup=True, mkdir=True)
        else:
            self._backend = from_url(url, retry_config=RETRIES, client_options={"timeout": REMOTE_TIMEOUT})

    def put(self, data: bytes) -> str:
        """Store bytes and return their SHA-256 in hex.

        Raises:
            ObjectsUnavailableError: The store does not answer, or has no room.
        """
        digest = sha256(data).hexdigest()
        path = _path(digest)
        try:
            if not self._exists(path):
                obstore.put(self._backend, path, data)
        except BaseError as error:
            raise ObjectsUnavailableError(_first_line(error)) from error
        return digest

    def get(self, digest: str) -> bytes:
        """Return the bytes under a SHA-256, checked against it.

        Raises:
            ObjectMissingError: Nothing is stored there, or its bytes have another hash.
            ObjectsUnavailableError: The store does not answer.
        """
        try:
            data = bytes(obstore.get(self._backend, _path(digest)).bytes())
        except FileNotFoundError as error:
            raise ObjectMissingError(f"the object store has nothing under {digest}") from error
        except BaseError as error:
            raise ObjectsUnavailableError(_first_line(error)) from error
        if sha256(data).hexdigest() != digest:
            raise ObjectMissingError(f"the object under {digest} is damaged: its bytes have another SHA-256")
        return data

    def remove(self, digest: str) -> None:
        """Remove what is under a SHA-256; nothing there is fine. The caller knows that nobody else stored the same.

        Raises:
            ObjectsUnavailableError: The store does not answer.
        """
        try:
            obstore.delete(self._backend, _path(digest))
        except FileNotFoundError:
            return
        except BaseError as error:
            raise ObjectsUnavailableError(_first_line(error)) from error

    def _exists(self, path: str) -> bool:
        try:
            obstore.head(self._backend, path)
        except FileNotFoundError:
            return False
        return True


def _path(digest: str) -> str:
    # Two levels of 256 folders keep each small at ten million objects.
    return f"{digest[:2]}/{digest[2:4]}/{digest}"


def _first_line(error: BaseError) -> str:
    # What follows is the library's own debugging output.
    return f"the object store does not answer: {str(error).partition(chr(10))[0]}"
