import pytest

from ml.archives.rules import check_expression, check_name, check_operator, check_path, check_text
from ml.errors import ArchiveError


@pytest.mark.parametrize(
    "target", ["torch.ops.aten.conv2d.default", "torch.ops.aten.sym_size.int", "_operator.mul", "torch.sym_max"]
)
def test_operators_on_tensors_and_sizes_are_allowed(target: str) -> None:
    check_operator(target)


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.aten.no_such.default",
        "torch.ops.aten.conv2d.__class__",
        "torch.ops.load_library",
        "torch.ops.mine.relu.default",
        "torch.load",
        "_operator.methodcaller",
        "math.__loader__",
        "#extension:x",
        "",
    ],
)
def test_any_other_target_is_refused(target: str) -> None:
    with pytest.raises(ArchiveError, match="operator"):
        check_operator(target)


@pytest.mark.parametrize(
    "text",
    [
        "s77",
        "4*s0 + 1",
        "Mul(Integer(12), Symbol('s77', positive=True, integer=True))",
        "Min(Integer(768), s77)",
        "FloorDiv(s1, 2)",
        "s0 <= 64",
        "Pow(s0, 2)",
        "Float('0.5', precision=53)".replace(", precision=53", ""),
    ],
)
def test_arithmetic_of_sizes_is_allowed(text: str) -> None:
    check_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "().__class__",
        "(lambda: 0)()",
        "Symbol('s0').free_symbols",
        "Symbol('a b')",
        "open('x')",
        "[x for x in s0]",
        "9**9**9**9**9**9",
        "s0" + " + s0" * 1000,
        "s0 +",
        "",
        "Symbol('s0', cls=1)",
        "(" * 500,
    ],
)
def test_any_other_expression_is_refused(text: str) -> None:
    with pytest.raises(ArchiveError, match="size"):
        check_expression(text)


@pytest.mark.parametrize("text", ["p_0_weight", "x", "_x1", ""])
def test_a_name_is_a_word(text: str) -> None:
    check_name(text)


@pytest.mark.parametrize("text", ["a.b", "1a", "a b", "x=1", "ä", "a\n"])
def test_a_name_is_nothing_else(text: str) -> None:
    with pytest.raises(ArchiveError, match="as a name"):
        check_name(text)


@pytest.mark.parametrize("text", ["layers.0.weight", "", "a__b"])
def test_a_path_is_words_and_dots(text: str) -> None:
    check_path(text)


@pytest.mark.parametrize("text", ["__class__", "a.__dict__.b", "a b", "a/b", "a\n"])
def test_a_path_is_nothing_else(text: str) -> None:
    with pytest.raises(ArchiveError, match="names joined by dots"):
        check_path(text)


def test_a_text_may_be_anything_short() -> None:
    check_text("bij,bjk->bik")
    with pytest.raises(ArchiveError, match="1001 characters"):
        check_text("x" * 1001)
