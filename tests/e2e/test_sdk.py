"""The generated clients against a running API, by the snippets that `sdk/README.md` shows."""

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

from tests.running import RunningStack

ROOT = Path(__file__).resolve().parents[2]
GENERATE = ROOT / "sdk" / "generate.py"
README = ROOT / "sdk" / "README.md"

SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

GENERATE_LIMIT_S = 120
SNIPPET_LIMIT_S = 60

#: Each package, and the folder that `sdk/generate.py` puts it into.
FOLDERS = {"torchqueue_client": "python", "torchqueue_openapi": "openapi-generator"}

UNKNOWN_MODEL = "there is no model 'fashon'; GET /v1/models lists them"


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make both clients; the folder that holds them."""
    folder = tmp_path_factory.mktemp("sdk")
    made = generate(folder)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


def generate(output: Path, *clients: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run `sdk/generate.py` with changes to the environment."""
    command = [sys.executable, str(GENERATE), "--output", str(output), *clients]
    environment = os.environ | changes
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=GENERATE_LIMIT_S, check=False
    )


def snippet(package: str, model: str) -> str:
    """Return the README's snippet that asks a model with a package."""
    [found] = [
        code for code in SNIPPET.findall(README.read_text()) if f"from {package}" in code and f'"{model}"' in code
    ]
    assert isinstance(found, str)
    return found


def run_snippet(code: str, folder: Path, stack: RunningStack) -> str:
    """Run a snippet as a user would, every warning an error; what it prints."""
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "TORCHQUEUE_URL": stack.url,
        "TORCHQUEUE_KEY": stack.admin_key,
    }
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SNIPPET_LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("package", FOLDERS)
@pytest.mark.parametrize(("model", "label"), [("fashion", "Sneaker"), ("xor", "1")])
def test_readme_snippet_prints_the_label(
    stack: RunningStack, clients: Path, package: str, model: str, label: str
) -> None:
    assert run_snippet(snippet(package, model), clients / FOLDERS[package], stack) == label


def test_problem_is_returned_by_torchqueue_client(stack: RunningStack, clients: Path) -> None:
    code = snippet("torchqueue_client", "fashion").replace('"fashion"', '"fashon"')
    code = code.replace('prediction.result["label"]', "prediction.detail")
    assert run_snippet(code, clients / FOLDERS["torchqueue_client"], stack) == UNKNOWN_MODEL


def test_problem_is_raised_by_torchqueue_openapi(stack: RunningStack, clients: Path) -> None:
    code = snippet("torchqueue_openapi", "fashion").replace('"fashion"', '"fashon"')
    code = f"from torchqueue_openapi import ApiException\ntry:\n{indent(code, '    ')}\n"
    code += "except ApiException as error:\n    print(error.data.detail)"
    assert run_snippet(code, clients / FOLDERS["torchqueue_openapi"], stack) == UNKNOWN_MODEL


def test_generator_without_java_says_what_to_install(tmp_path: Path) -> None:
    made = generate(tmp_path, "openapi-generator", PATH=str(tmp_path))
    assert made.returncode == 1
    assert made.stderr.strip() == (
        "openapi-generator needs Java, and there is none: install e.g. Debian's default-jre-headless"
    )
    assert list(tmp_path.iterdir()) == []
