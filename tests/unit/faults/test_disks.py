"""`tests.faults.disks`: a disk of one's own that is full, and has room again."""

import errno
from pathlib import Path

import pytest

from tests.faults.disks import WHY_NOT, mounted

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


def test_a_full_disk_takes_nothing_until_it_is_freed(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", 1) as disk:
        with disk.full(), pytest.raises(OSError, match="No space left") as refused:
            (disk.folder / "more").write_bytes(b"1")
        (disk.folder / "more").write_bytes(b"1")

        assert refused.value.errno == errno.ENOSPC


def test_what_was_in_a_folder_is_on_its_disk_with_its_rights(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir(mode=0o700)
    (folder / "kept").write_text("as it was")

    with mounted(folder, 1):
        assert ((folder / "kept").read_text(), folder.stat().st_mode & 0o777) == ("as it was", 0o700)


def test_a_disk_goes_with_whoever_had_it_even_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), mounted(tmp_path / "small", 1):
        raise RuntimeError

    assert not (tmp_path / "small").is_mount()
