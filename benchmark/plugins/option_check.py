"""Check given option names and values against a method's source text, before torch and the method are imported.

The complete check is resolve_recipe's, on the imported class. This one answers a typing error within a second and
skips what the text does not tell: an annotation that is not simple, a class that is not found.
"""

import ast
from collections.abc import Mapping
from dataclasses import fields, make_dataclass
from pathlib import Path
from typing import Literal

from benchmark.common.config import Training, build
from benchmark.common.files import REPOSITORY, shown
from benchmark.errors import ConfigError, MethodError, did_you_mean
from benchmark.plugins.discovery import source_of

SIMPLE = {"int": int, "float": float, "str": str, "bool": bool}
EVERYWHERE = ("template", "templates")  # a word may stand for templates, and a recipe may name a template


def option_problems(method: str, given: Mapping[str, object]) -> list[str]:
    """What is wrong with the options given for a method, as far as its source text tells."""
    try:
        source = source_of(method)
        options, where = _options_of(source.file), shown(source.recipe)
    except (MethodError, OSError, SyntaxError, ValueError, LookupError):
        return []  # make_plan says what is wrong with the file
    training = {field.name: field.type for field in fields(Training)}
    known = {*options, *training, "template"}
    unknown = sorted(given.keys() - known, key=str)
    problems = [f"{method}: '{key}' is not an option. {did_you_mean(key, known)}" for key in unknown]
    for types in (options, training):
        checked = {key: types[key] for key in types if key in given and types[key] and key not in EVERYWHERE}
        try:
            cls = make_dataclass(method, checked.items(), kw_only=True, frozen=True)
            build(cls, {key: given[key] for key in checked}, where)
        except ConfigError as error:
            problems.append(str(error))
    return problems


def _options_of(file: Path) -> dict[str, object]:
    """Field to type of the Options of a file's one method.

    Raises:
        LookupError: the text does not tell which class that is.
    """
    named = [
        statement.value.id
        for node in _parse(file).body
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "Options"
        if isinstance(statement.value, ast.Name)
    ]
    if len(named) != 1:
        raise LookupError
    return _fields_of(named[0], file)


def _fields_of(name: str, file: Path) -> dict[str, object]:
    """Field to type of a dataclass that a file defines or imports from this repository; inherited fields first."""
    for node in _parse(file).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            inherited = [_fields_of(ast.unparse(base), file) for base in node.bases]
            own = {ast.unparse(n.target): _type(n.annotation) for n in node.body if isinstance(n, ast.AnnAssign)}
            return {key: kind for part in (*inherited, own) for key, kind in part.items()}
        if isinstance(node, ast.ImportFrom) and name in (alias.name for alias in node.names):
            return _fields_of(name, REPOSITORY / f"{(node.module or '').replace('.', '/')}.py")
    raise LookupError


def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _type(node: ast.expr) -> object:
    """The type of a simple annotation, such as int, str | None or Literal["a", "b"]; None for any other."""
    if isinstance(node, ast.Name):
        return SIMPLE.get(node.id)
    if isinstance(node, ast.BinOp) and ast.unparse(node.right) == "None":
        inner = _type(node.left)
        return inner and inner | None
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
        return Literal[ast.literal_eval(node.slice)]
    return None
