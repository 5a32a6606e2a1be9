"""Commands as an operator types them: each in a process of its own, beside a running stack."""

import json
import subprocess
import sys

from tests.running import ROOT, RunningStack


def type_in(stack: RunningStack, *words: str) -> str:
    """Run `torchqueue` with these words and return what it prints."""
    command = [sys.executable, "-m", "stack", *words, f"--var={stack.var_dir}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_key_is_made_shown_and_revoked(stack: RunningStack) -> None:
    key = type_in(stack, "keys", "create", "typed", "--scope=predict").split()[-1]
    headers = {"Authorization": f"Bearer {key}"}
    answered = stack.predict_xor(headers=headers).status_code
    [shown] = [each for each in json.loads(type_in(stack, "keys", "list", "--json")) if each["name"] == "typed"]

    type_in(stack, "keys", "revoke", shown["id"])

    assert (answered, stack.predict_xor(headers=headers).status_code) == (200, 401)
    assert "revoke_key" in type_in(stack, "audit")


def test_commands_that_only_look_say_what_there_is(stack: RunningStack) -> None:
    stack.predict_xor()

    assert "xor" in type_in(stack, "models", "list")
    assert "cpu-0" in type_in(stack, "status")
    assert type_in(stack, "dead", "list")
