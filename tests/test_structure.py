"""The shape of the project itself: imports point down, packages are empty, files keep their size."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

LAYERS = {
    "benchmark/constants.py": 0,
    "benchmark/errors.py": 0,
    "benchmark/shapes.py": 1,
    "benchmark/strict_yaml.py": 1,
    "benchmark/metrics.py": 1,
    "benchmark/provenance.py": 1,
    "benchmark/progress.py": 1,
    "benchmark/stopping.py": 1,
    "benchmark/device.py": 1,
    "benchmark/world.py": 1,
    "benchmark/cache.py": 1,
    "benchmark/config.py": 2,
    "benchmark/clip/trie.py": 1,
    "benchmark/clip/checkpoint.py": 2,
    "benchmark/clip/locate.py": 3,
    "benchmark/cost.py": 3,
    "benchmark/clip/text.py": 2,
    "benchmark/memory.py": 3,
    "benchmark/clip/backbone.py": 4,
    "benchmark/records.py": 3,
    "benchmark/data/synthetic/": 3,
    "benchmark/data/headers.py": 2,
    "benchmark/data/images.py": 3,
    "benchmark/data/layouts.py": 3,
    "benchmark/data/catalog.py": 4,
    "benchmark/data/transfer.py": 3,
    "benchmark/data/hub.py": 4,
    "benchmark/data/packed.py": 3,
    "benchmark/data/unpack.py": 5,
    "benchmark/data/imagenet.py": 5,
    "benchmark/data/offers.py": 5,
    "benchmark/data/download.py": 6,
    "benchmark/data/own_settings.py": 3,
    "benchmark/data/own.py": 5,
    "benchmark/data/survey.py": 6,
    "benchmark/surroundings.py": 4,
    "benchmark/data/splits.py": 5,
    "benchmark/features.py": 6,
    "tables/": 5,
    "benchmark/method.py": 5,
    "benchmark/prompts.py": 6,
    "benchmark/sources.py": 5,
    "benchmark/loading.py": 6,
    "benchmark/registry.py": 7,
    "methods/": 7,
    "benchmark/skeleton/": 7,
    "benchmark/new_method.py": 6,
    "benchmark/lockstep.py": 7,
    "benchmark/graphs.py": 7,
    "benchmark/schedule.py": 3,
    "benchmark/checkpoints.py": 6,
    "benchmark/step.py": 8,
    "benchmark/fit.py": 9,
    "benchmark/evaluate.py": 8,
    "benchmark/protocols/": 8,
    "benchmark/released.py": 2,
    "benchmark/loaded.py": 8,
    "benchmark/tracking.py": 4,
    "benchmark/request.py": 9,
    "benchmark/specs.py": 10,
    "benchmark/sharing.py": 10,
    "benchmark/capability.py": 9,
    "benchmark/inputs.py": 10,
    "benchmark/plan.py": 11,
    "benchmark/turns.py": 12,
    "benchmark/arguments.py": 10,
    "benchmark/forecast.py": 1,
    "benchmark/stand_in.py": 7,
    "benchmark/estimate.py": 12,
    "benchmark/describe.py": 13,
    "benchmark/orchestrate.py": 12,
    "benchmark/recorded.py": 11,
    "benchmark/export.py": 12,
    "benchmark/alignment.py": 12,
    "benchmark/vocabulary.py": 12,
    "tables/attention.py": 13,
    "tables/prompts.py": 13,
    "benchmark/workers.py": 13,
    "benchmark/timing.py": 13,
    "benchmark/calibrate.py": 14,
    "benchmark/doctor.py": 12,
    "benchmark/doctor_words.py": 13,
    "benchmark/fetch.py": 15,
    "benchmark/execute.py": 14,
    "benchmark/from_python.py": 15,
    "benchmark/__init__.py": 16,
    "benchmark/commands.py": 15,
    "benchmark/speed/": 16,
    "benchmark/speed/geometry.py": 12,
    "benchmark/speed/plain.py": 12,
    "benchmark/speed/measure.py": 12,
    "benchmark/speed/work.py": 13,
    "run_all.py": 17,
}
FOR_METHODS = {"constants", "errors", "shapes", "clip", "prompts", "method"}  # what a method may use of the benchmark


def sources() -> list[Path]:
    """The project's own: a plugin that somebody wrote into the checkout is none of it."""
    folders = ("benchmark", "methods", "tables")
    return [ROOT / "run_all.py", *sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]


def layer(file: str) -> int:
    fitting = [prefix for prefix in LAYERS if file == prefix or (prefix.endswith("/") and file.startswith(prefix))]
    assert fitting, f"{file} has no layer in this test; give it one"
    return LAYERS[max(fitting, key=len)]


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


def test_imports_only_point_down():
    seen = 0
    for path in sources():
        file = path.relative_to(ROOT).as_posix()
        for target in imports_of(path):
            seen += 1
            same_package = Path(target).parent == Path(file).parent and file.startswith(
                ("tables/", "benchmark/data/synthetic/", "benchmark/protocols/")
            )
            assert layer(target) < layer(file) or same_package, f"{file} may not import {target}"
    assert seen > 50


def test_methods_import_only_what_plugins_may():
    for path in [*(ROOT / "methods").glob("*.py"), *(ROOT / "benchmark" / "skeleton").glob("*.py")]:
        for target in imports_of(path):
            assert target.split("/")[0] == "benchmark", (
                f"{path.name} imports {target}: methods never import one another"
            )
            assert target.split("/")[1].removesuffix(".py") in FOR_METHODS, f"{path.name} may not import {target}"


def test_tables_never_import_torch():
    for path in (ROOT / "tables").rglob("*.py"):
        assert "torch" not in path.read_text().split(), path


def test_package_files_are_empty_but_the_one_that_offers_run():
    found = [p for p in sources() if p.name == "__init__.py" and p.parent.name != "benchmark"]
    assert found
    assert all(p.read_text() == "" for p in found)


def test_importing_the_package_imports_no_torch():
    code = "import sys, benchmark, benchmark.records, tables.aggregate; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True).stdout == "False\n"


def test_files_keep_within_300_lines():
    assert not {p.name: n for p in sources() if (n := len(p.read_text().splitlines())) > 300}


def test_every_yaml_of_the_project_is_read_by_its_loader():
    from benchmark.config import load_suite, read_yaml
    from benchmark.registry import resolve_recipe
    from benchmark.sources import repository_names

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
