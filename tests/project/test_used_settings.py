"""A service reads only the settings that it uses: an operator who sets one that does nothing is misled.

A setting is used where the service's own code, or code of the library that it imports, reads an attribute
of its name; within a settings class only what is used in turn counts."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest
from deploy.helm.settings import CLASSES

from posthorn.adapters.postgres.migrate import MigrateSettings
from posthorn.runtime.canary.settings import CanarySettings
from posthorn.runtime.env_settings import EnvSettings

_ROOT = Path(__file__).parents[2]
_FOLDERS = (_ROOT / "libs/posthorn/src", *sorted((_ROOT / "services").glob("*/src")))
_ENTRIES: dict[str, type[EnvSettings]] = {
    f"{owner.__module__.partition('.')[0]}.main:{part}": owner for part, owner in CLASSES.items()
} | {
    f"{MigrateSettings.__module__}:migrate": MigrateSettings,
    "posthorn.runtime.canary.main:canary": CanarySettings,
}


def _path(module: str) -> Path | None:
    for folder in _FOLDERS:
        base = folder / module.replace(".", "/")
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


@functools.cache
def _tree(module: str) -> ast.Module:
    path = _path(module)
    assert path is not None
    return ast.parse(path.read_text())


@functools.cache
def _imports(module: str) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    return frozenset(each for each in found if each.startswith("posthorn") and _path(each))


def _reachable(module: str) -> set[str]:
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        if (each := waiting.pop()) not in seen:
            seen.add(each)
            waiting += _imports(each)
    return seen


def _reads(node: ast.AST) -> set[str]:
    return {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}


@pytest.mark.parametrize("entry", _ENTRIES)
def test_every_setting_is_used_by_the_services_that_read_it(entry: str) -> None:
    owner = _ENTRIES[entry]
    classes = {(each.__module__, each.__name__) for each in owner.__mro__}
    used: set[str] = set()
    members: dict[str, set[str]] = {}
    for module in _reachable(entry.partition(":")[0]):
        for node in _tree(module).body:
            if not isinstance(node, ast.ClassDef) or (module, node.name) not in classes:
                used |= _reads(node)
                continue
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    members.setdefault(member.name, set()).update(_reads(member))
    while more := set().union(*(members[name] for name in members.keys() & used)) - used:
        used |= more
    assert owner.model_fields.keys() - used == set()
