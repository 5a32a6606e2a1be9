"""Kinds and architectures of the user's own: modules that a process imports when it starts.

Such a module defines ``KINDS``, ``ARCHITECTURES``, or both, in the form that ``ml.kinds`` and
``ml.architectures.registry`` have: dictionaries from a name to a class or function.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from ml.architectures.registry import ARCHITECTURES
from ml.errors import PluginError
from ml.kinds import KINDS
from ml.predictor import Predictor


def load_plugins(names: Iterable[str]) -> list[PluginError]:
    """Load modules. One that cannot be used is left out and does no harm to the others.

    Args:
        names: Modules that Python finds, such as ``shop.kinds``, or files that end in ``.py``.

    Returns:
        Why some were left out; empty when all is well.
    """
    problems = []
    for name in names:
        try:
            load_plugin(name)
        except PluginError as error:
            problems.append(error)
    return problems


def load_plugin(name: str) -> None:
    """Import a module and register what it defines; a second time changes nothing.

    Raises:
        PluginError: It cannot be imported, defines nothing or the wrong things, or takes a name that is in use.
    """
    module = _import(name)
    kinds = _read(module, name, "KINDS", KINDS, _check_kind)
    architectures = _read(module, name, "ARCHITECTURES", ARCHITECTURES, _check_architecture)
    if not kinds and not architectures:
        raise PluginError(f"The plugin {name} defines neither KINDS nor ARCHITECTURES, dictionaries by name.")
    KINDS.update(kinds)
    ARCHITECTURES.update(architectures)


def _import(name: str) -> ModuleType:
    try:
        return _import_file(Path(name)) if name.endswith(".py") else import_module(name)
    # Whatever somebody else's module raises while it is imported.
    except Exception as error:
        raise PluginError(f"The plugin {name} cannot be imported: {type(error).__name__}: {error}") from error


def _import_file(path: Path) -> ModuleType:
    path = path.resolve()
    loaded = sys.modules.get(path.stem)
    if loaded is not None:
        if getattr(loaded, "__file__", None) != str(path):
            raise ImportError(f"another module is called {path.stem}; rename the file")
        return loaded
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        # Python does the same with a module that failed half way.
        del sys.modules[path.stem]
        raise
    return module


def _read(
    module: ModuleType, plugin: str, attribute: str, known: Mapping[str, Any], check: Callable[[Any], str | None]
) -> dict[str, Any]:
    found = getattr(module, attribute, {})
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise PluginError(f"{attribute} of the plugin {plugin} must be a dictionary by name.")
    for name, value in found.items():
        if known.get(name, value) is not value:
            raise PluginError(f"The plugin {plugin} defines {name!r} in {attribute}, which exists already; rename it.")
        problem = check(value)
        if problem is not None:
            raise PluginError(f"{attribute}[{name!r}] of the plugin {plugin} {problem}.")
    return dict(found)


def _check_kind(value: Any) -> str | None:
    if not (inspect.isclass(value) and issubclass(value, Predictor)):
        return "must be a class derived from ml.predictor.Predictor"
    if inspect.isabstract(value):
        return f"lacks the methods {', '.join(sorted(value.__abstractmethods__))}"
    return None


def _check_architecture(value: Any) -> str | None:
    return None if callable(value) else "must be a function (options, input, n_labels) -> torch.nn.Module"
