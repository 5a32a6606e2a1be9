import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

#: Installed beside the interpreter, as every tool of requirements/dev.txt.
HADOLINT = Path(sys.executable).with_name("hadolint")


@pytest.fixture
def dockerfile(root: Path) -> str:
    return (root / "Dockerfile").read_text()


def test_hadolint_finds_nothing(root: Path) -> None:
    done = subprocess.run([HADOLINT, root / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_stage_builds_on_the_chosen_base(dockerfile: str) -> None:
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?", dockerfile, re.MULTILINE)
    names = {name for _, name in stages}
    assert {base for base, _ in stages} <= {"${BASE_IMAGE}", *names}


def test_the_user_is_a_number_other_than_root(image_user: str) -> None:
    assert int(image_user.partition(":")[0]) > 0


def test_the_image_runs_our_command(dockerfile: str) -> None:
    assert 'ENTRYPOINT ["torchqueue"]' in dockerfile


def test_every_secret_is_gone_after_its_run(dockerfile: str) -> None:
    assert not re.search(r"^(COPY|ADD|ENV|ARG) .*(pip_conf|pip_env|ca_bundle|INDEX_URL)", dockerfile, re.MULTILINE)


def test_every_package_travels_to_the_builder(root: Path) -> None:
    setuptools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    needed = {f"!{pattern.rstrip('*')}" for pattern in setuptools["packages"]["find"]["include"]}
    needed |= {f"!{module}.py" for module in setuptools["py-modules"]} | {"!pyproject.toml", "!README.md"}
    assert needed <= set((root / ".dockerignore").read_text().splitlines())


@pytest.mark.parametrize("name", ["build-image.sh", "lock-requirements.sh", "pip-with-secrets.sh", "try-image.sh"])
def test_the_scripts_are_executable_and_parse(root: Path, name: str) -> None:
    script = root / "deploy" / name
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
