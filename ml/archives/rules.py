"""What a ``torch.export`` archive may say: a list of what is allowed, because reading one means running much of it.

PyTorch resolves the operators of an archive by name anywhere below ``torch``, evaluates its sizes as Python, and
compiles its names into the text of a function. Each is safe within these rules, and none without them.
"""

import ast
import re

import torch

from ml.errors import ArchiveError

NAME = re.compile(r"[A-Za-z_]\w{0,299}", re.ASCII)
"""A node or an argument; becomes part of a function's text."""

PATH = re.compile(r"(?!(.*\.)?__)[\w.]{0,500}", re.ASCII)
"""A parameter or a module; no part of it is one of Python's own names, such as ``__class__``."""

MAX_EXPRESSION_CHARS = 2_000
MAX_POWERS = 4
"""Powers of powers take for ever to compute; a size needs one or two."""

MAX_TEXT_CHARS = 1_000

_ATEN_OPERATOR = re.compile(r"torch\.ops\.(aten|prims)\.(\w+)\.(\w+)", re.ASCII)
_FILE_OPERATORS = frozenset({"from_file", "save"})
_PLAIN_OPERATOR = re.compile(
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|getitem|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|math\.(ceil|floor|trunc|sqrt)"
    r"|torch\.sym_(int|float|max|min|not|ite|sum)"
    r"|torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast|cond)"
)

_SYMBOL = re.compile(r"[a-z]{1,4}\d{1,9}", re.ASCII)
_FUNCTION = re.compile(
    "Symbol|Integer|Float|Rational|Add|Mul|Pow|Mod|Min|Max|Abs|floor|ceiling|FloorDiv|CleanDiv|CeilDiv|ModularIndexing|"
    "PythonMod|IntTrueDiv|FloatTrueDiv|ToFloat|TruncToInt|FloorToInt|CeilToInt|RoundToInt|PowByNatural|FloatPow|Where|"
    "Identity|Equality|Unequality|StrictLessThan|LessThan|StrictGreaterThan|GreaterThan|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not"
)
_ASSUMPTIONS = frozenset({"positive", "integer", "nonnegative", "negative", "real", "nonzero", "finite", "evaluate"})
_NODES = (
    *(ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.UnaryOp, ast.USub, ast.UAdd),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
)


def check_operator(target: str) -> None:
    """Allow PyTorch's own operators on tensors, and arithmetic on sizes; none that opens a file.

    Raises:
        ArchiveError: It is another.
    """
    if _PLAIN_OPERATOR.fullmatch(target) is not None:
        return
    match = _ATEN_OPERATOR.fullmatch(target)
    if match is not None and match[2] not in _FILE_OPERATORS:
        packet = getattr(getattr(torch.ops, match[1]), match[2], None)
        if isinstance(getattr(packet, match[3], None), torch._ops.OpOverload):  # noqa: SLF001 - its only name
            return
    raise ArchiveError(
        f"The archive uses the operator {target[:100]!r}, which is not one of PyTorch {torch.__version__}'s own for "
        "tensors. Export the model without custom operators, and with this version of PyTorch or an older one."
    )


def check_expression(text: str) -> None:
    """Allow sums, products and the like of sizes.

    Raises:
        ArchiveError: It is anything else.
    """
    try:
        tree = ast.parse(text, mode="eval") if len(text) <= MAX_EXPRESSION_CHARS else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None or not all(_is_plain(node) for node in ast.walk(tree)) or _powers(tree) > MAX_POWERS:
        raise ArchiveError(f"The archive gives a size as {text[:100]!r}, which is no arithmetic of sizes.")


def check_name(text: str) -> None:
    """Allow what may be a name in Python, and the empty text for none.

    Raises:
        ArchiveError: It is none.
    """
    if text and NAME.fullmatch(text) is None:
        raise ArchiveError(f"The archive uses {text[:100]!r} as a name; letters, digits and underscores are allowed.")


def check_path(text: str) -> None:
    """Allow names joined by dots.

    Raises:
        ArchiveError: It holds anything else.
    """
    if PATH.fullmatch(text) is None:
        raise ArchiveError(f"The archive holds the text {text[:100]!r} where names joined by dots are expected.")


def check_text(text: str) -> None:
    """Allow any text of a sensible length: it is an operator's argument, which is quoted wherever it goes.

    Raises:
        ArchiveError: It is too long.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise ArchiveError(
            f"The archive holds a text of {len(text)} characters; at most {MAX_TEXT_CHARS} are accepted."
        )


def _is_plain(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and _FUNCTION.fullmatch(node.func.id) is not None
    if isinstance(node, ast.Name):
        return (_FUNCTION.fullmatch(node.id) or _SYMBOL.fullmatch(node.id)) is not None
    if isinstance(node, ast.keyword):
        return node.arg in _ASSUMPTIONS and isinstance(node.value, ast.Constant) and isinstance(node.value.value, bool)
    if isinstance(node, ast.Constant):
        # Text is the name of a symbol, or the digits of a float.
        text = node.value
        digits = isinstance(text, str) and re.fullmatch(r"[a-z]{1,4}\d{1,9}|[-+.\de]{1,40}", text, re.ASCII) is not None
        return digits or (isinstance(text, int | float) and abs(text) < 2**63)
    return isinstance(node, _NODES)


def _powers(tree: ast.AST) -> int:
    names = {"Pow", "PowByNatural", "FloatPow"}
    return sum(
        isinstance(node, ast.Pow) or (isinstance(node, ast.Name) and node.id in names) for node in ast.walk(tree)
    )
