"""`tasks.spool`: results on disk, whatever happens to the process that wrote them."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from uuid_utils.compat import uuid7

from schemas.enums import ErrorCode
from store.ledger_rows import Claim, Outcome
from tasks.spool import Spool, read_records, take_up

NAME = "cpu-0"

DYING_WRITER = """
import os, signal, sys
from pathlib import Path
from tasks.spool import Spool
from tests.unit.tasks.test_spool import outcome
spool = Spool(Path(sys.argv[1]), "cpu-0")
assert spool.append([outcome(7), outcome(8)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def outcome(fence: int = 1, **changes: object) -> Outcome:
    """What a worker has to say of a claim."""
    claim = Claim(id=uuid7(), fence=fence, model_version_id=3, input=None, input_sha256=None)
    fields = {"result": {"label": "1", "score": 0.5}, "decode_ms": 1.5, "compute_ms": 2.5} | changes
    return Outcome(claim=claim, **fields)  # type: ignore[arg-type]


def committed_from(folder: Path) -> list[Outcome]:
    """Take up a folder and return what was to be committed."""
    found: list[Outcome] = []

    def commit(outcomes: Sequence[Outcome]) -> int:
        found.extend(outcomes)
        return len(outcomes)

    assert take_up(folder, commit) == len(found)
    return found


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = [outcome(1), outcome(2, result=None, error_code=ErrorCode.INTERNAL, error_detail="it broke")]
    spool = Spool(tmp_path, NAME)

    assert spool.append(written)
    spool.close()

    assert committed_from(tmp_path) == written


def test_records_are_read_in_their_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path, NAME)
    for fence in range(5):
        spool.append([outcome(fence)])
    spool.close()

    assert [each.claim.fence for each in committed_from(tmp_path)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_record_is_left_out_and_those_before_it_are_not(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path, NAME)
    spool.append([outcome(1)])
    spool.append([outcome(2)])
    spool.close()
    [file] = tmp_path.iterdir()
    os.truncate(file, file.stat().st_size - cut)

    assert [each.claim.fence for each in committed_from(tmp_path)] == [1]


def test_a_damaged_record_is_left_out(tmp_path: Path) -> None:
    spool = Spool(tmp_path, NAME)
    spool.append([outcome(1)])
    spool.close()
    [file] = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    data[-3] ^= 0xFF
    file.write_bytes(data)

    assert committed_from(tmp_path) == []


def test_a_file_of_something_else_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "cpu-0-1.spool").write_bytes(b"not a spool at all, but long enough for a header")

    assert committed_from(tmp_path) == []


def test_what_does_not_fit_is_refused_and_what_was_there_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path, NAME, limit_bytes=400)
    assert spool.append([outcome(1)])

    assert not spool.append([outcome(2)] * 10)

    spool.close()
    assert [each.claim.fence for each in committed_from(tmp_path)] == [1]


def test_a_disk_that_refuses_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file where the folder should be")

    assert not Spool(tmp_path / "spool", NAME).append([outcome()])


def test_a_cleared_spool_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, NAME)
    spool.append([outcome()])

    spool.clear()

    assert list(tmp_path.iterdir()) == []


def test_a_spool_is_used_again_after_it_was_cleared(tmp_path: Path) -> None:
    spool = Spool(tmp_path, NAME)
    spool.append([outcome(1)])
    spool.clear()

    spool.append([outcome(2)])

    spool.close()
    assert [each.claim.fence for each in committed_from(tmp_path)] == [2]


def test_the_file_of_a_process_that_lives_is_left_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path, NAME)
    spool.append([outcome()])

    assert committed_from(tmp_path) == []

    assert len(list(tmp_path.iterdir())) == 1
    spool.clear()


def test_a_killed_process_leaves_all_that_it_wrote(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", DYING_WRITER, str(tmp_path)], check=False)

    assert died.returncode == -signal.SIGKILL
    assert [each.claim.fence for each in committed_from(tmp_path)] == [7, 8]


def test_files_that_were_committed_are_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, NAME)
    spool.append([outcome()])
    spool.close()

    committed_from(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_file_stays_when_its_results_cannot_be_committed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, NAME)
    spool.append([outcome(4)])
    spool.close()

    def away(_outcomes: Sequence[Outcome]) -> int:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        take_up(tmp_path, away)

    assert [each.claim.fence for each in committed_from(tmp_path)] == [4]


def test_a_folder_that_never_was_holds_nothing(tmp_path: Path) -> None:
    assert committed_from(tmp_path / "spool") == []


def test_only_the_owner_may_read_a_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path, NAME)
    spool.append([outcome()])
    [file] = tmp_path.iterdir()

    assert file.stat().st_mode & 0o077 == 0
    spool.clear()


def test_reading_ends_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    descriptor = os.open(tmp_path / "empty", os.O_RDONLY)

    assert list(read_records(descriptor)) == []
    os.close(descriptor)
