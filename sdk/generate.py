"""Make client libraries from `docs/openapi.json`: `python sdk/generate.py [--output DIR] [CLIENT …]`.

Fails when a generator warns, because a warning is how they say that they left something out.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

SDK = Path(__file__).resolve().parent
DOCUMENT = SDK.parent / "docs" / "openapi.json"

# Console scripts of the generators, and the ruff that one of them calls, lie beside the interpreter.
SCRIPTS = Path(sys.executable).parent

# What openapi-generator says of any document: the first of any OpenAPI 3.1, the second of any with a model.
KNOWN_WARNINGS = ("OpenAPI 3.1 support is still in beta", "Failed to get the schema name: null")


class GenerateError(Exception):
    """Raised when a client cannot be made; the message says what to do."""


def make_python(target: Path) -> None:
    """Make the package `torchqueue_client` with openapi-python-client."""
    config = SDK / "openapi-python-client.yaml"
    inputs = ["--path", str(DOCUMENT), "--config", str(config)]
    _run("openapi-python-client", "generate", *inputs, "--output-path", str(target), "--meta=uv", "--fail-on-warning")


def make_openapi_generator(target: Path) -> None:
    """Make the package `torchqueue_openapi` with openapi-generator.

    Raises:
        GenerateError: There is no Java, or the generator warns.
    """
    if shutil.which("java") is None:
        raise GenerateError(
            "openapi-generator needs Java, and there is none: install e.g. Debian's default-jre-headless"
        )
    version = json.loads(DOCUMENT.read_text(encoding="utf-8"))["info"]["version"]
    inputs = ["--input-spec", str(DOCUMENT), "--config", str(SDK / "openapi-generator.yaml")]
    properties = ["--additional-properties", f"packageVersion={version}"]
    log = _run("openapi-generator-cli", "generate", *inputs, *properties, "--output", str(target))
    warnings = [line for line in log.splitlines() if " WARN " in line or " ERROR " in line]
    unknown = [line for line in warnings if not any(known in line for known in KNOWN_WARNINGS)]
    if unknown:
        raise GenerateError("openapi-generator warns:\n" + "\n".join(unknown))


#: Each client's folder under `--output`, and what fills it.
CLIENTS: dict[str, Callable[[Path], None]] = {"python": make_python, "openapi-generator": make_openapi_generator}


def main(arguments: list[str] | None = None) -> int:
    """Make the asked clients; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="sdk/generate.py", description="Make client libraries from docs/openapi.json."
    )
    parser.add_argument("--output", type=Path, default=SDK, help="folder that gets one folder for each (default: sdk/)")
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=f"of {', '.join(CLIENTS)} (default: all)")
    options = parser.parse_args(arguments)
    for name in options.clients or CLIENTS:
        if name not in CLIENTS:
            parser.error(f"there is no client {name!r}; there are {', '.join(CLIENTS)}")
        try:
            print(f"{name}: {_replace(options.output.resolve() / name, CLIENTS[name])}")
        except GenerateError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def _replace(target: Path, make: Callable[[Path], None]) -> Path:
    """Make a client anew: neither generator removes what is gone from the document. A failure leaves the old one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        make(made)
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
    return target


def _run(script: str, *arguments: str) -> str:
    """Run a generator and return what it says."""
    path = SCRIPTS / script
    if not path.exists():
        raise GenerateError(f"{script} is not installed; requirements/dev.txt has it")
    environment = os.environ | {"PATH": f"{SCRIPTS}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        [str(path), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise GenerateError(f"{script} failed:\n{done.stdout.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
