from datetime import UTC, datetime

import pytest

from schemas.model_settings import ModelSettings
from schemas.retraining_settings import RetrainingSettings
from store.errors import ModelSettingsError
from tasks.cron import check_schedule, next_tick

MONDAY_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "tick"),
    [
        ("*/5 * * * *", datetime(2026, 11, 23, 12, 5, tzinfo=UTC)),
        ("0 3 * * mon", datetime(2026, 11, 30, 3, tzinfo=UTC)),
        ("0 0 29 2 *", datetime(2028, 2, 29, tzinfo=UTC)),
    ],
)
def test_the_next_tick_comes_after_the_time(line: str, tick: datetime) -> None:
    assert next_tick(line, MONDAY_NOON) == tick


@pytest.mark.parametrize("line", ["0 0 31 2 *", "0 0 30,31 2 *", "61 * * * *", "* * * *", "@daily", "a b c d e"])
def test_a_line_that_never_fires_or_is_none_is_refused(line: str) -> None:
    with pytest.raises(ModelSettingsError, match="five fields"):
        check_schedule(ModelSettings(retraining=RetrainingSettings(cron=line)))


def test_a_model_without_a_cron_line_has_nothing_to_check() -> None:
    check_schedule(ModelSettings(retraining=RetrainingSettings()))
