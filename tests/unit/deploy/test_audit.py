"""`deploy/audit.py`: red for a known vulnerability, never for a service that is away."""

import json
from typing import Any

import pytest

from deploy.audit import LOCKS, read_npm_audit, read_pip_audit

VULNERABLE = {"name": "pillow", "version": "9.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["12.3"]}]}
SOUND = {"name": "flask", "version": "3.1", "vulns": []}
UNKNOWN = {"name": "mine", "skip_reason": "Dependency not found on PyPI"}


def report(*packages: dict[str, Any]) -> str:
    """What pip-audit writes."""
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_vulnerability_is_found_and_said_with_its_remedy() -> None:
    verdict = read_pip_audit("runtime", report(VULNERABLE, SOUND), "")

    assert list(verdict.found) == ["pillow 9.0: PYSEC-1, fixed in 12.3"]
    assert "2 packages looked up, 1 vulnerabilities" in str(verdict)


def test_sound_packages_are_counted() -> None:
    assert str(read_pip_audit("runtime", report(SOUND, UNKNOWN), "")) == (
        "runtime: 1 packages looked up, 1 unknown to the service, 0 vulnerabilities"
    )


@pytest.mark.parametrize(
    ("written", "complaint"),
    [("", "Max retries exceeded"), ("no JSON", "Connection refused"), (report(UNKNOWN, UNKNOWN), "")],
)
def test_a_service_that_is_away_is_no_vulnerability_and_no_clean_bill(written: str, complaint: str) -> None:
    verdict = read_pip_audit("runtime", written, complaint)

    assert not verdict.found
    assert "not audited" in str(verdict)


def test_npm_is_read() -> None:
    said = {
        "vulnerabilities": {"left-pad": {"severity": "high", "range": "<2"}},
        "metadata": {"dependencies": {"total": 7}},
    }

    verdict = read_npm_audit(json.dumps(said), "")

    assert (verdict.looked_up, list(verdict.found)) == (7, ["left-pad: high, <2"])


def test_a_registry_that_has_no_advisories_is_said() -> None:
    refusal = json.dumps({"message": "405 Method Not Allowed", "statusCode": 405})

    assert "not audited" in str(read_npm_audit(refusal, "npm error audit endpoint returned an error"))


def test_every_lock_that_is_installed_is_audited() -> None:
    assert set(LOCKS) == {"runtime", "embedded", "dev"}
