"""The OpenAPI document as text, and its snapshot in `docs/`: `python -m webapp.spec [--check]`.

Reviewers read what a change does to clients in the snapshot's diff, and the SDKs are made from it.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from store.settings import Settings
from webapp.app import create_app
from webapp.openapi import SPEC_PATH

SNAPSHOT = Path(__file__).resolve().parent.parent / "docs" / "openapi.json"

RENEW = "python -m webapp.spec"

# The document depends on none of these; they only stand where an application needs some.
SETTINGS = Settings(
    database_url="postgresql+psycopg2:///", redis_url="redis://", object_url="memory://", var_dir=Path("var")
)

# How a reader wants to find the parts of the document.
PARTS = ("openapi", "info", "servers", "security", "tags", "paths", "webhooks", "components")


def read_document() -> dict[str, Any]:
    """Return the document as this code serves it; takes no server."""
    served = create_app(SETTINGS).test_client().get(SPEC_PATH).get_json()
    return {part: served[part] for part in PARTS}


def render_document() -> str:
    """Return the document as the snapshot holds it."""
    return json.dumps(read_document(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the snapshot, or with `--check` tell whether it is the document; returns the exit status."""
    parser = argparse.ArgumentParser(prog=RENEW, description="Write docs/openapi.json.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when it would change")
    check = parser.parse_args(arguments).check
    document = render_document()
    if check:
        if SNAPSHOT.read_text(encoding="utf-8") == document:
            return 0
        print(f"{SNAPSHOT.name} is not what the code serves; renew it with `{RENEW}`", file=sys.stderr)
        return 1
    SNAPSHOT.write_text(document, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
