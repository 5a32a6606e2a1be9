"""The `torchqueue` command. Each group of commands has a file in `stack/commands/`."""

import logging

import click
import structlog

from stack.commands.keys import keys
from stack.commands.models import models
from stack.commands.predict import predict
from stack.commands.process import beat, flower, healthcheck, migrate, web, worker
from stack.commands.run import down, logs, status, up
from stack.commands.spec import openapi
from stack.commands.train import train
from webapp.version import VERSION


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="torchqueue")
def main() -> None:
    """Run PyTorch models behind an HTTP API that never loses a job."""
    # A command answers in its own words; what our libraries log is for the processes that it starts.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


for command in (up, down, status, logs, predict, train, models, keys, openapi):
    main.add_command(command)
for command in (migrate, web, worker, beat, flower, healthcheck):
    main.add_command(command)
