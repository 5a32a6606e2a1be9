"""Tries a model that somebody uploaded, in a process of its own: `python -m tasks.checking`.

A web process starts it, since that must not load torch, and since whatever a file does to the libraries that read it,
it does to this process alone. Reads the configuration as one line of JSON, then the weights; writes one line of JSON.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

from ml.candidate import check_candidate
from ml.errors import InvalidSpecError, MLError, UnknownArchitectureError, UnknownKindError
from ml.plugins import load_plugins
from store.settings import plugins_from_env


def check(config: Mapping[str, Any], weights: bytes) -> dict[str, Any]:
    """Load a model and ask it; nothing is ever unpickled.

    Returns:
        What to register: `config`, complete, and `metrics`. Or `field` and `detail`: what is wrong, and where.
    """
    try:
        candidate = check_candidate(config, weights)
    except InvalidSpecError as error:
        return {"field": f"config.{error.field}", "detail": error.detail}
    except (UnknownArchitectureError, UnknownKindError) as error:
        return {"field": "config", "detail": str(error)}
    except MLError as error:
        return {"field": "weights", "detail": str(error)}
    return {"config": candidate.config, "metrics": candidate.metrics}


def main() -> None:
    """Check what stands on the standard input."""
    config = json.loads(sys.stdin.buffer.readline())
    weights = sys.stdin.buffer.read()
    # A plugin that cannot be loaded is logged by the workers; here its models are of an unknown kind.
    load_plugins(plugins_from_env())
    found = check(config, weights)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
