"""How a model's traffic is split among its versions, and how they did."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy.orm import Session

from schemas.comparisons import ComparisonSchema
from schemas.enums import StickyKey, TrafficPolicy
from schemas.traffic import TrafficPlan, TrafficSchema
from stack.commands.options import json_option, open_database, var_option
from stack.console import console, one_line_errors, print_json, print_table
from store.comparison import compare
from store.database import open_session
from store.decisions import COMMAND_ACTOR
from store.models import get_model
from store.traffic import clear_traffic, describe, read_traffic, set_traffic
from webapp.comparisons import present_comparison, present_traffic


class Shares(click.ParamType[dict[int, float]]):
    """Shares by version number, such as `3=95,4=5`."""

    name = "shares"

    def convert(
        self, value: str | dict[int, float], param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[int, float]:
        """Read what was typed."""
        if isinstance(value, dict):
            return value
        found: dict[int, float] = {}
        for part in value.split(","):
            number, _, share = part.partition("=")
            try:
                found[int(number)] = float(share)
            except ValueError:
                self.fail(f"{part!r} is no share of a version; write 3=95,4=5", param, ctx)
        return found


@click.command("traffic")
@var_option
@click.argument("model")
@click.option("--split", type=Shares(), help="Shares by version, such as 3=95,4=5.")
@click.option("--learned", is_flag=True, help="Learn the shares from feedback, beginning with those of --split.")
@click.option("--off", is_flag=True, help="The champion answers alone, without shadows.")
@click.option("--shadow", "shadows", type=int, multiple=True, help="A version that computes and never answers.")
@click.option(
    "--sticky",
    type=click.Choice([str(each) for each in StickyKey]),
    default=StickyKey.NONE.value,
    show_default=True,
    help="What goes to the same version again.",
)
@click.option("--reason", default="", help="Why, for the log of decisions.")
@json_option
@one_line_errors
def traffic_(
    *,
    var_dir: Path,
    model: str,
    split: dict[int, float] | None,
    learned: bool,
    off: bool,
    shadows: Sequence[int],
    sticky: str,
    reason: str,
    as_json: bool,
) -> None:
    """Show or say which versions of a model answer, and how often."""
    _check_options(split, learned=learned, off=off, shadows=shadows)
    database = open_database(var_dir)
    with open_session(database) as session:
        if off:
            clear_traffic(session, name=model, actor=COMMAND_ACTOR, reason=reason)
        elif split or learned or shadows:
            plan = TrafficPlan(
                policy=_policy(split, learned=learned),
                weights=split or _champion_and_challenger(session, model, learned=learned),
                shadows=tuple(shadows),
                sticky=StickyKey(sticky),
            )
            set_traffic(session, name=model, plan=plan, actor=COMMAND_ACTOR, reason=reason)
    with open_session(database) as session:
        state = read_traffic(session, model)
    if as_json:
        print_json(TrafficSchema().dump(present_traffic(state)))
        return
    console.print(f"{model}: {describe(state.plan)}; champion {state.champion}, sticky {state.plan.sticky}")
    if state.arms:
        print_table(["version", "probability"], [(number, f"{share:.2%}") for number, share, _ in state.arms])


@click.command("compare")
@var_option
@click.argument("model")
@click.option("--since", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="By default since the split began.")
@json_option
@one_line_errors
def compare_(var_dir: Path, model: str, since: datetime | None, as_json: bool) -> None:
    """Compare what the versions of a model did in real traffic."""
    with open_session(open_database(var_dir)) as session:
        found = ComparisonSchema().dump(present_comparison(compare(session, model, since=since)))
    if as_json:
        print_json(found)
        return
    _print_versions(found)
    ratio = found["sample_ratio"]
    if ratio["off"]:
        console.print(f"the shares are off ({ratio['counts']} {ratio['unit']}): look for a fault first")


def _check_options(split: dict[int, float] | None, *, learned: bool, off: bool, shadows: Sequence[int]) -> None:
    if off and (split or learned or shadows):
        raise click.UsageError("--off ends everything; leave out --split, --learned and --shadow")


def _policy(split: dict[int, float] | None, *, learned: bool) -> TrafficPolicy:
    if learned:
        return TrafficPolicy.LEARNED
    return TrafficPolicy.FIXED if split else TrafficPolicy.NONE


def _champion_and_challenger(session: Session, name: str, *, learned: bool) -> dict[int, float]:
    """Equal shares for those that have an alias, where only learning was asked for."""
    model = get_model(session, name)
    named = (model.champion, model.challenger) if learned else ()
    return {version.number: 1.0 for version in named if version is not None}


def _print_versions(found: dict[str, Any]) -> None:
    rows = [
        (
            f"{each['version']}{' *' if each['version'] == found['champion'] else ''}",
            each["requests"],
            each["errors"],
            _percentiles(each["latency_ms"]),
            each["feedback"],
            _figure(each["quality"]),
        )
        for each in found["versions"]
    ]
    print_table(["version", "requests", "errors", "p50, p99 ms", "feedback", "quality"], rows)
    for each in found["comparisons"]:
        difference = _figure(each["difference"]) or "no feedback on both yet"
        console.print(f"version {each['version']} against {each['against']}: {each['verdict']}; {difference}")
    for each in found["shadows"]:
        agreement = _figure(each["agreement"]) or "nothing yet"
        console.print(
            f"shadow {each['version']}: agrees on {agreement}, of {each['pairs']} answers; {each['errors']} errors; "
            f"computes in {_percentiles(each['compute_ms'])} ms, the answers in "
            f"{_percentiles(each['answer_compute_ms'])} ms"
        )


def _percentiles(times: dict[str, float | None]) -> str:
    return ", ".join("?" if times[name] is None else f"{times[name]:.4g}" for name in ("p50", "p99"))


def _figure(figure: dict[str, Any] | None) -> str | None:
    if figure is None or figure["value"] is None:
        return None
    ends = ["?" if figure[end] is None else f"{figure[end]:.4g}" for end in ("lower", "upper")]
    return f"{figure['value']:.4g} ({ends[0]} to {ends[1]})"
