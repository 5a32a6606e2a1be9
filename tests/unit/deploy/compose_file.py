"""docker-compose.yml as the tests look at it, without a Docker engine."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from schemas.enums import WorkerRole

#: `${NAME}`, `${NAME:-default}` or `${NAME:?message}`; `$$` is a dollar sign.
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?:(?P<operator>:[-?])(?P<word>[^}]*))?\}")

OUR_IMAGE = "torchqueue:latest"

Service = dict[str, Any]


class ComposeFile:
    """Services by name, with the defaults of their variables filled in.

    Args:
        text: The file.
    """

    def __init__(self, text: str) -> None:
        self.variables = list(VARIABLE.finditer(text))
        filled = VARIABLE.sub(lambda found: found["word"] if found["operator"] == ":-" else "unset", text)
        self.services: dict[str, Service] = yaml.safe_load(filled)["services"]

    @property
    def names(self) -> set[str]:
        """Every variable that the file reads, or hands on when it is set."""
        handed_on = {
            name for service in self.services.values() for name, value in environment(service).items() if value is None
        }
        return {found["name"] for found in self.variables} | handed_on

    @property
    def ours(self) -> dict[str, Service]:
        """The services that run our image."""
        return {name: service for name, service in self.services.items() if service["image"] == OUR_IMAGE}

    def started_with(self, profile: str) -> Iterator[Service]:
        """Yield the services that start under a profile."""
        return (service for service in self.services.values() if profile in service.get("profiles", [profile]))


def environment(service: Service) -> dict[str, str | None]:
    """Return the variables of a service."""
    found: dict[str, str | None] = service.get("environment", {})
    return found


def worker_role(service: Service) -> WorkerRole | None:
    """Return the role of a service's worker; None when it is something else."""
    command, *arguments = service["command"]
    return WorkerRole(arguments[0]) if command == "worker" else None
