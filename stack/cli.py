"""The `torchqueue` command. Each group of commands has a file in `stack/commands/`."""

import logging

import click
import structlog

from stack.lazy import LazyGroup
from webapp.version import VERSION

COMMANDS = {
    "up": ("stack.commands.run:up", "Start everything on this machine; Ctrl-C drains and stops it."),
    "down": ("stack.commands.run:down", "Drain and stop the stack on this folder."),
    "status": ("stack.commands.run:status", "Show processes, what waits, and what the last minute did."),
    "logs": ("stack.commands.run:logs", "Print the end of a process's log."),
    "predict": ("stack.commands.predict:predict", "Ask a model about pictures (or JSON files)."),
    "train": ("stack.commands.train:train", "Train a model from nothing and register the result."),
    "models": ("stack.commands.models:models", "Manage models and their versions."),
    "items": ("stack.commands.items:items", "Manage the items of your catalogs and of similarity indexes."),
    "feedback": ("stack.commands.feedback:feedback", "Send the right answers to many predictions."),
    "dead": ("stack.commands.dead:dead", "See what workers failed at, and ask it again."),
    "keys": ("stack.commands.keys:keys", "Manage API keys."),
    "audit": ("stack.commands.audit:audit", "Show who did what, newest first."),
    "webhooks": ("stack.commands.webhooks:webhooks", "Manage webhook endpoints and what is sent to them."),
    "openapi": ("stack.commands.spec:openapi", "Print the OpenAPI document; needs no running stack."),
    "migrate": ("stack.commands.process:migrate", "Bring the database to this version."),
    "web": ("stack.commands.process:web", "Serve the API."),
    "worker": ("stack.commands.process:worker", "Consume one role's queues on one device."),
    "beat": ("stack.commands.process:beat", "Send the scheduled jobs. Any number may run."),
    "flower": ("stack.commands.process:flower", "Serve Flower, which shows workers and tasks."),
    "healthcheck": ("stack.commands.process:healthcheck", "Exit with 0 when this host's worker holds its lease."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="torchqueue")
def main() -> None:
    """Run PyTorch models behind an HTTP API that never loses a job."""
    # A command answers in its own words; what our libraries log is for the processes that it starts.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
