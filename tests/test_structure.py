"""Test the layout of the project: rooms import downward, and rooms, files, classes and functions stay small."""

import ast
from pathlib import Path

from benchmark.common.config import load_suite, read_yaml
from benchmark.plugins.discovery import repository_names
from benchmark.plugins.recipes import resolve_recipe

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (  # bottom to top: a room imports itself and rooms before it; folders in a room belong to it
    "benchmark/errors.py",
    "benchmark/common",
    "benchmark/clip",
    "benchmark/records",
    "benchmark/data",
    "benchmark/method.py",
    "benchmark/prompts.py",
    "benchmark/towers.py",
    "methods",
    "benchmark/protocols",
    "benchmark/features",
    "benchmark/plugins",
    "benchmark/training",
    "benchmark/planning",
    "tables",
    "benchmark/running",
    "benchmark/costs",
    "benchmark/inspection",
    "tables/attention.py",  # loads the model of a run
    "tables/ablation.py",
    "tables/figures/weights.py",
    "tables/prompts.py",
    "benchmark/cli",
    "benchmark/speed",
    "benchmark/__init__.py",
    "benchmark/__main__.py",
    "run_all.py",
)
FOR_METHODS = {
    "__init__",
    "common",
    "errors",
    "clip",
    "prompts",
    "towers",
    "method",
}  # what a method may import of benchmark/
FOLDERS = [ROOT / name for name in ("benchmark", "methods", "tables")]
PATHS = [ROOT / "run_all.py", *(path for folder in FOLDERS for path in folder.rglob("*.py"))]
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in PATHS}
LONGEST = {ast.FunctionDef: 50, ast.ClassDef: 200}


def rank_of(file: str) -> int:
    """Return the place in ROOMS of the longest entry that is this file or a folder around it."""
    fitting = [room for room in ROOMS if file == room or file.startswith(f"{room}/")]
    assert fitting, f"{file}: add its room to ROOMS"
    return ROOMS.index(max(fitting, key=len))


def imports_of(file: str) -> set[str]:
    """Return the files of this project that a file imports, in functions too."""
    names = set()
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {f"{name.replace('.', '/')}{end}" for name in names for end in (".py", "/__init__.py")} & TREES.keys()


def test_rooms_import_downward():
    pairs = [(file, other) for file in TREES for other in imports_of(file)]
    assert len(pairs) > 200 and not [pair for pair in pairs if rank_of(pair[1]) > rank_of(pair[0])]


def test_methods_import_only_the_interface_for_plugins():
    for file in (file for file in TREES if file.startswith(("methods/", "benchmark/plugins/skeleton/"))):
        assert {Path(other).parts[1].removesuffix(".py") for other in imports_of(file)} <= FOR_METHODS, file


def test_rooms_are_few_small_and_documented():
    assert len(list((ROOT / "benchmark").glob("*/__init__.py"))) <= 14
    loose = {path.stem for path in (ROOT / "benchmark").glob("*.py")}
    assert loose - {"__main__"} == {"__init__", "errors", "method", "prompts", "towers"}
    for folder in {path.parent for path in PATHS} - {ROOT, ROOT / "methods"}:
        assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= 12, folder
    assert all(ast.get_docstring(TREES[file]) for file in TREES if file.startswith("benchmark/") and "__init__" in file)


def test_files_classes_and_functions_are_short():
    nodes = [(file, node) for file, tree in TREES.items() for node in ast.walk(tree) if type(node) in LONGEST]
    long = [(f, n.name) for f, n in nodes if n.end_lineno - n.lineno >= LONGEST[type(n)]]
    assert not long + [path for path in PATHS if len(path.read_text().splitlines()) > 300]


def test_every_yaml_file_is_read_by_its_loader():
    files = [path for folder in FOLDERS for path in folder.rglob("*.yaml")]  # not of an environment in the checkout
    recipes = {path.stem: path for path in (ROOT / "methods").glob("*.yaml")}
    assert recipes.keys() == set(repository_names()) and len(files) > len(recipes) + 3
    for path in files:
        if path in recipes.values():
            assert resolve_recipe(path.stem, template="a {}.").template == "a {}."
        else:
            assert load_suite(path).datasets if path.parent.name == "suites" else read_yaml(path)
