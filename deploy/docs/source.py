"""What the generated pages take from source code: docstrings of attributes, and calls with
constant arguments."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


def attribute_docs(owner: type) -> dict[str, str]:
    """Return the docstring of each annotated attribute that the class body itself defines, empty
    where there is none."""
    body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        statement.target.id: _text(after)
        for statement, after in _pairs(body.body)
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }


def constant_docs(path: Path) -> list[tuple[list[str], str]]:
    """Return the values of a module's text constants and their docstring, in order; several at
    once where one line holds them."""
    found = []
    for statement, after in _pairs(ast.parse(path.read_text()).body):
        if isinstance(statement, ast.Assign):
            value = statement.value
            held = value.elts if isinstance(value, ast.Tuple) else [value]
            texts = [
                each.value
                for each in held
                if isinstance(each, ast.Constant) and isinstance(each.value, str)
            ]
            if texts and len(texts) == len(held):
                found.append((texts, _text(after)))
    return found


@cache
def modules() -> Sequence[tuple[Path, ast.Module]]:
    """Parse every module of the packages, in the order of their paths."""
    paths = sorted([*ROOT.glob("libs/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")])
    return [(path.relative_to(ROOT), ast.parse(path.read_text())) for path in paths]


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Return each call in a module with the last word of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id, node
            elif isinstance(node.func, ast.Attribute):
                yield node.func.attr, node


def constant(node: ast.AST | None) -> object:
    """Return the value of a constant; of an f-string its text with an ellipsis for each value;
    else None."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
        )
    return None


def _pairs(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.stmt | None]]:
    return zip(body, [*body[1:], None], strict=True)


def _text(statement: ast.stmt | None) -> str:
    found = constant(statement.value) if isinstance(statement, ast.Expr) else None
    return found if isinstance(found, str) else ""
