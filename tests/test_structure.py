"""The shape of the project itself: imports point down, packages are empty, files keep their size."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

ROOMS = (  # from the bottom to the top; a room imports rooms before it, and itself
    "benchmark/errors.py",
    "benchmark/common",
    "benchmark/clip",
    "benchmark/records",
    "benchmark/data/synthetic",
    "benchmark/data",
    "benchmark/data/custom",
    "benchmark/data/download",
    "benchmark/method.py",
    "benchmark/prompts.py",
    "methods",
    "benchmark/protocols",
    "benchmark/features",
    "benchmark/plugins",
    "benchmark/training",
    "benchmark/planning",
    "tables/aggregate.py",
    "tables/statistics.py",
    "tables/published.py",
    "tables/selection.py",
    "tables/rendering",
    "tables/protocols",
    "tables/figures",
    "tables/claims",
    "tables/report",
    "tables/__main__.py",
    "benchmark/running",
    "benchmark/costs",
    "benchmark/inspection",
    "tables/attention.py",
    "tables/prompts.py",
    "benchmark/cli/doctor",
    "benchmark/cli",
    "benchmark/speed",
    "benchmark/__init__.py",
    "benchmark/__main__.py",
    "run_all.py",
)
MOST_FILES, MOST_ROOMS = 12, 14
FOR_METHODS = {"common", "errors", "clip", "prompts", "method"}  # what a method may use of the benchmark


def sources() -> list[Path]:
    """The project's own: a plugin that somebody wrote into the checkout is none of it."""
    folders = ("benchmark", "methods", "tables")
    return [ROOT / "run_all.py", *sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]


def room_of(file: str) -> str:
    """The entry of ROOMS that a file is in: the longest that names it or a folder around it."""
    fitting = [room for room in ROOMS if file == room or file.startswith(f"{room}/")]
    assert fitting, f"{file} is in no room of this test; add its room to ROOMS"
    return max(fitting, key=len)


def imports_of(path: Path) -> list[str]:
    """Files of this project that a file imports."""
    targets = []
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        targets += [f"{name.replace('.', '/')}.py" for name in names]
    return sorted({target for target in targets if (ROOT / target).is_file()})


def test_rooms_import_downward_only():
    seen = 0
    for path in sources():
        file = path.relative_to(ROOT).as_posix()
        for target in imports_of(path):
            seen += 1
            assert ROOMS.index(room_of(target)) <= ROOMS.index(room_of(file)), f"{file} may not import {target}"
    assert seen > 50


def test_rooms_are_few_and_small_enough_to_look_through():
    rooms = [path for path in (ROOT / "benchmark").iterdir() if (path / "__init__.py").is_file()]
    assert 10 <= len(rooms) <= MOST_ROOMS
    for folder in {path.parent for path in sources()} - {ROOT, ROOT / "methods"}:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= MOST_FILES, folder
    loose = {path.stem for path in (ROOT / "benchmark").glob("*.py")}
    assert loose == {"__init__", "__main__", "errors", "method", "prompts"}


def test_methods_import_only_what_plugins_may():
    for path in [*(ROOT / "methods").glob("*.py"), *(ROOT / "benchmark" / "plugins" / "skeleton").glob("*.py")]:
        for target in imports_of(path):
            assert target.split("/")[0] == "benchmark", (
                f"{path.name} imports {target}: methods never import one another"
            )
            assert target.split("/")[1].removesuffix(".py") in FOR_METHODS, f"{path.name} may not import {target}"


def test_tables_never_import_torch():
    for path in (ROOT / "tables").rglob("*.py"):
        assert "torch" not in path.read_text().split(), path


def test_every_room_says_what_is_in_it():
    for path in (ROOT / "benchmark").rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_importing_the_package_imports_no_torch():
    code = "import sys, benchmark, benchmark.records.record, tables.aggregate; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True).stdout == "False\n"


def test_files_keep_within_300_lines():
    assert not {p.name: n for p in sources() if (n := len(p.read_text().splitlines())) > 300}


def test_every_yaml_of_the_project_is_read_by_its_loader():
    from benchmark.common.config import load_suite, read_yaml
    from benchmark.plugins.discovery import repository_names
    from benchmark.plugins.factory import resolve_recipe

    suites = list((ROOT / "benchmark" / "suites").glob("*.yaml"))
    recipes = list((ROOT / "methods").glob("*.yaml"))
    others = [
        p
        for p in ROOT.rglob("*.yaml")
        if p not in (*suites, *recipes) and not p.relative_to(ROOT).parts[0].startswith((".", "results"))
    ]
    assert suites
    assert others
    assert {p.stem for p in recipes} == set(repository_names())
    for path in suites:
        assert load_suite(path).datasets
    for path in recipes:
        assert resolve_recipe(path.stem, template="a {}.").template == "a {}."
    for path in others:
        assert read_yaml(path)
