"""`stack.feedback_files`: a file in parts, whose lines are named by their place in the file."""

from pathlib import Path

import pytest

from stack import feedback_files
from stack.errors import InvalidSourceError
from stack.feedback_files import content_type_of, read_parts


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_files, "PART_LINES", 2)


def test_lines_are_cut_into_parts(tmp_path: Path) -> None:
    file = tmp_path / "words.ndjson"
    file.write_text("1\n\n3\n")

    assert [(part.body, part.lines, part.numbers) for part in read_parts(file)] == [
        (b"1\n\n", 2, [1, 2]),
        (b"3\n", 1, [3]),
    ]


def test_each_part_of_a_table_names_the_columns(tmp_path: Path) -> None:
    file = tmp_path / "words.csv"
    file.write_text('\ufeffa,b\n1,"x\ny"\n2,z\n3,"p,q"\n')

    assert [(part.body.decode(), part.lines, part.numbers) for part in read_parts(file)] == [
        ('a,b\n1,"x\ny"\n2,z\n', 4, [1, 2, 2, 4]),
        ('a,b\n3,"p,q"\n', 1, [1, 5]),
    ]


def test_a_file_of_nothing_has_no_part(tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text("")

    assert list(read_parts(tmp_path / "words.csv")) == []


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_bytes(b"\xff\xfe")

    with pytest.raises(InvalidSourceError, match="cannot be read"):
        list(read_parts(tmp_path / "words.csv"))


def test_a_file_with_another_ending_is_refused() -> None:
    with pytest.raises(InvalidSourceError, match=r"must end in \.ndjson, \.jsonl, \.csv"):
        content_type_of(Path("words.txt"))
