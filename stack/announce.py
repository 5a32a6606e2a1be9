"""What `torchqueue up` prints when all is ready: what runs where, the key, a line to paste, a first answer."""

from pathlib import Path

from stack.client import ApiClient
from stack.console import console, print_table, shown
from stack.errors import RequestRefusedError
from stack.state import StackState, read_state
from stack.up import Running

SAMPLE = Path(__file__).resolve().parent.parent / "samples" / "sandal-01.png"
SAMPLE_MODEL = "fashion"


def announce(running: Running, answer: str) -> None:
    """Print the table and the answer to one sample photo."""
    var_dir = running.plan.settings.var_dir
    if running.imported:
        console.print(f"imported {', '.join(running.imported)}")
    print_processes(read_state(var_dir))
    password = var_dir / "flower.password"
    console.print(f"\nadmin key   {shown(running.admin_key_file)}")
    console.print(f"API docs    {running.plan.url}/docs")
    console.print(f"Flower      user admin, password in {shown(password)}")
    console.print(f"\n{answer}; the same with curl:\n")
    console.print(curl_line(running.plan.url, running.admin_key_file))
    console.print("\nready. Ctrl-C stops it.")


def print_processes(state: StackState) -> None:
    """Print what runs, where, and how often it had to be started again."""
    rows = [(p.name, p.state, p.url or "", p.pid, p.restarts or "") for p in state.processes]
    print_table(["process", "state", "address", "pid", "restarts"], rows)


def curl_line(url: str, key_file: Path) -> str:
    """Return a command that asks about the sample photo, ready to paste."""
    return (
        f'curl -H "Authorization: Bearer $(cat {shown(key_file)})" -H "Content-Type: image/png" '
        f"--data-binary @{shown(SAMPLE)} {url}/v1/models/{SAMPLE_MODEL}/predictions"
    )


def first_answer(var_dir: Path) -> str:
    """Ask about the sample photo and say in a line what came of it."""
    try:
        with ApiClient(var_dir) as client:
            prediction = client.predict(SAMPLE_MODEL, SAMPLE)
    except RequestRefusedError as error:
        return f"{shown(SAMPLE)} was not answered: {error}"
    if prediction["result"] is None:
        return f"{shown(SAMPLE)} is {prediction['status']}"
    result, total_ms = prediction["result"], prediction["timings_ms"]["total"]
    return f"{shown(SAMPLE)} is a {result['label']} ({result['score']:.0%}, {total_ms:.0f} ms)"
