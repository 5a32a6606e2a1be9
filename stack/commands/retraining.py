"""When a model is trained again by itself: by the clock, by enough feedback, by drift."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from schemas.model_settings import ModelSettings
from schemas.retraining_settings import RetrainingSettings
from stack.commands.options import open_database, var_option
from stack.console import console, one_line_errors
from store.database import open_session
from store.models import configure, get_model
from tasks.cron import check_schedule, next_tick


@click.command("retrain")
@var_option
@click.argument("model")
@click.option("--cron", help="Minute, hour, day of month, month, day of week, in UTC: '0 3 * * mon'.")
@click.option("--min-feedback", type=click.IntRange(1), help="Rows of feedback since the last training.")
@click.option("--on-drift", is_flag=True, help="When a drift alarm is raised.")
@click.option(
    "--debounce-s", type=click.FloatRange(0), default=600.0, show_default=True, help="Least time between two trainings."
)
@click.option("--never", is_flag=True, help="Only when somebody asks.")
@one_line_errors
def retrain_(
    var_dir: Path,
    model: str,
    cron: str | None,
    min_feedback: int | None,
    on_drift: bool,
    debounce_s: float,
    never: bool,
) -> None:
    """Say when a model is trained again by itself, or show it; what is left out asks for no training.

    How it is trained, and what the result must prove, stays as it is set over HTTP.
    """
    asked = cron is not None or min_feedback is not None or on_drift
    if never and asked:
        raise click.UsageError("--never and a time to train exclude each other")
    with open_session(open_database(var_dir)) as session:
        settings = ModelSettings.load(get_model(session, model).settings)
        if asked:
            before = settings.retraining or RetrainingSettings()
            retraining = replace(before, cron=cron, min_feedback=min_feedback, on_drift=on_drift, debounce_s=debounce_s)
            settings = replace(settings, retraining=retraining)
            check_schedule(settings)
        elif never:
            settings = replace(settings, retraining=None)
        if asked or never:
            configure(session, name=model, settings=settings)
    console.print(f"{model} is trained again {_describe(settings.retraining)}")


def _describe(retraining: RetrainingSettings | None) -> str:
    if retraining is None:
        return "only when somebody asks"
    reasons = []
    if retraining.cron is not None:
        tick = next_tick(retraining.cron, datetime.now(UTC))
        reasons.append(f"at {retraining.cron!r}, next on {tick:%Y-%m-%d %H:%M} UTC")
    if retraining.min_feedback is not None:
        reasons.append(f"after {retraining.min_feedback:,} rows of feedback")
    if retraining.on_drift:
        reasons.append("on a drift alarm")
    return f"{', '.join(reasons)}; at most every {retraining.debounce_s:g} s" if reasons else "only when somebody asks"
