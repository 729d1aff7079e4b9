"""`run_all.py --new-method`: a method of one's own that already runs, written out to be changed."""

import keyword
import os
from pathlib import Path

from benchmark.errors import ConfigError
from benchmark.plugins.discovery import METHODS, check_method_name, method_names, source_of

SKELETON = Path(__file__).parent / "skeleton" / "my_method.py"  # its recipe lies beside it
DATASET = "synth_actions"  # the embedded one to try it on: of few classes
ROOT = METHODS.parent


def write_new_method(target: Path) -> str:
    """Write a method's file and its recipe, and return what to do next.

    Args:
        target: the method's name, or a path that ends in it, with or without .py; folders are made.
    Raises:
        ConfigError: no name for a method, one that is taken, a file that is there already or cannot be written.
    """
    target = target.expanduser()
    name = target.stem if target.suffix == ".py" else target.name
    where = f"--new-method {target}"
    check_method_name(name, where)
    title = name.replace("_", " ").title()
    words = {"my_method": name, "MyMethod": title.replace(" ", ""), "My Method": title}
    if keyword.iskeyword(words["MyMethod"]):
        raise ConfigError(f"{where}: its class would be called {words['MyMethod']}, which Python keeps for itself.")
    files = [target.with_name(f"{name}{suffix}") for suffix in (".py", ".yaml")]
    if there := [str(file) for file in files if file.exists()]:
        raise ConfigError(f"{where}: {' and '.join(there)} would be overwritten. Take another name, or move it away.")
    if name in method_names():
        raise ConfigError(f"{where}: there is a method '{name}' already ({source_of(name).told}). Take another name.")
    for file in files:
        text = SKELETON.with_suffix(file.suffix).read_text(encoding="utf-8")
        for placeholder, word in words.items():
            text = text.replace(placeholder, word)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with open(file, "x", encoding="utf-8") as new:
                new.write(text)
        except OSError as error:
            raise ConfigError(f"{where}: {file} cannot be written ({error.strerror}).") from error
    return _next_steps(files, name)


def _next_steps(files: list[Path], name: str) -> str:
    """The commands that follow, as they are given from the folder at hand."""
    ours = files[0].parent.resolve() == METHODS
    run, kit, guide = (_from_here(ROOT / part) for part in ("run_all.py", "tests/test_every_method.py", "docs"))
    which = f"--methods zero_shot {name}" if ours else f"--plugin {files[0]} --methods zero_shot {name}"
    check = f"--method {name}" if ours else f"--plugin {files[0]}"
    return (
        f"Written: {files[0]} and {files[1]}. They run as they stand:\n\n"
        f"  python {run} {which} --datasets {DATASET} --seeds 1\n"
        f"  pytest {kit} {check}\n\n"
        "The first trains and scores it beside zero-shot CLIP on one embedded dataset and says where the table is.\n"
        f"The second checks that it keeps the rules of every method here. How to go on: {guide}/adding-a-method.md"
    )


def _from_here(path: Path) -> str:
    """A path of the checkout, relative to the folder at hand where that lies in the checkout."""
    return os.path.relpath(path) if Path.cwd().is_relative_to(ROOT) else str(path)
