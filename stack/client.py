"""The running API, as the command line asks it."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from stack.errors import RequestRefusedError
from stack.state import ADMIN_KEY_FILE, read_state

TIMEOUT_S = 70.0

CONTENT_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
JSON_SUFFIX = ".json"


class ApiClient:
    """Asks the API of the stack on a folder, with its admin key.

    Args:
        var_dir: The stack's folder.

    Raises:
        NotRunningError: No stack runs there.
    """

    def __init__(self, var_dir: Path) -> None:
        key_file = var_dir / ADMIN_KEY_FILE
        headers = {"Authorization": f"Bearer {key_file.read_text().strip()}"} if key_file.exists() else {}
        self._client = httpx.Client(base_url=read_state(var_dir).url, headers=headers, timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str) -> Any:
        """Read a resource.

        Raises:
            RequestRefusedError: The API answered with a problem, or did not answer.
        """
        return self._send("GET", path)

    def predict(self, model: str, file: Path) -> Any:
        """Ask a model about a picture, or about the numbers of a JSON file, and wait for it up to a minute.

        Raises:
            RequestRefusedError: The API answered with a problem, or did not answer.
        """
        return self._send("POST", f"/v1/models/{model}/predictions", **_body(file))

    def put_item(self, model: str, catalog: str, external_id: str, file: Path) -> Any:
        """Put a picture into a model's index at bulk priority, and wait for it up to a minute.

        Raises:
            RequestRefusedError: The API answered with a problem, or did not answer.
        """
        path = _item_path(model, catalog, external_id)
        return self._send("PUT", path, params={"priority": "bulk"}, **_body(file))

    def remove_item(self, model: str, catalog: str, external_id: str) -> None:
        """Remove an item from a model's index.

        Raises:
            RequestRefusedError: The API answered with a problem, or did not answer.
        """
        self._send("DELETE", _item_path(model, catalog, external_id))

    def send_feedback(self, model: str, body: bytes, content_type: str) -> Any:
        """Send a part of a file of feedback; returns what became of its lines.

        Raises:
            RequestRefusedError: The API answered with a problem, or did not answer.
        """
        path = f"/v1/models/{quote(model, safe='')}/feedback"
        return self._send("POST", path, content=body, headers={"Content-Type": content_type})

    def forget_item(self, catalog: str, external_id: str) -> Any:
        """Forget an item with all that is stored of it; returns what went.

        Raises:
            RequestRefusedError: The API answered with a problem, or did not answer.
        """
        names = "/".join(quote(name, safe="") for name in (catalog, external_id))
        return self._send("DELETE", f"/v1/items/{names}")

    def _send(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise RequestRefusedError(f"the API at {self._client.base_url} does not answer: {error}") from error
        if response.is_error:
            problem = response.json()
            raise RequestRefusedError(f"{problem['detail']} ({problem['type']})")
        return response.json() if response.content else None


def _body(file: Path) -> dict[str, Any]:
    """What is sent for a file. Whoever types a command wants its answer, also where a worker has to load the model."""
    suffix = file.suffix.lower()
    content_type = (
        "application/json" if suffix == JSON_SUFFIX else CONTENT_TYPES.get(suffix, "application/octet-stream")
    )
    return {"content": file.read_bytes(), "headers": {"Content-Type": content_type, "Prefer": "wait=60"}}


def _item_path(model: str, catalog: str, external_id: str) -> str:
    names = (quote(name, safe="") for name in (catalog, external_id))
    return f"/v1/models/{model}/items/{'/'.join(names)}"
