"""Real loss of packets on one TCP port of the loopback, by a table of nftables of its own."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.rights import why_not

#: Of a hundred packets, in each direction.
LOST = 30

# Where packets come in: one that is refused on its way out is told to TCP at once, which is no loss.
RULES = """
table inet {table} {{
    chain lossy {{
        type filter hook input priority 0; policy accept;
        tcp dport {port} numgen random mod 100 < {lost} counter drop
        tcp sport {port} numgen random mod 100 < {lost} counter drop
    }}
}}
"""

WHY_NOT = why_not("--net", ["nft", "-f", "-"], RULES.format(table="tried", port=1, lost=LOST))


@contextmanager
def losing(port: int) -> Iterator[None]:
    """Lose packets to and from a port for as long as the block runs; asserts that some were."""
    table = f"torchqueue_faults_{port}"
    subprocess.run(["nft", "-f", "-"], input=RULES.format(table=table, port=port, lost=LOST), text=True, check=True)
    try:
        yield
        assert _lost(table), "no packet was lost"
    finally:
        subprocess.run(["nft", "delete", "table", "inet", table], check=True)


def _lost(table: str) -> int:
    """Packets that the rules of a table have dropped."""
    listed = subprocess.run(["nft", "-j", "list", "table", "inet", table], capture_output=True, check=True).stdout
    rules = [each["rule"] for each in json.loads(listed)["nftables"] if "rule" in each]
    return sum(part["counter"]["packets"] for rule in rules for part in rule["expr"] if "counter" in part)
