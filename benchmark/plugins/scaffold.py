"""Write the skeleton of a new method, which runs before it is changed."""

import keyword
import os
from pathlib import Path

from benchmark.common.files import REPOSITORY
from benchmark.errors import ConfigError
from benchmark.plugins.discovery import METHODS, check_method_name, method_names, source_of

SKELETON = Path(__file__).parent / "skeleton" / "my_method.py"  # its recipe is next to it
DATASET = "synth_actions"  # the embedded dataset of the suggested command; it has few classes


def write_new_method(target: Path) -> str:
    """Write a method's file and its recipe, and return the next steps.

    Args:
        target: the method's name, or a path that ends in it, with or without .py; missing folders are created.
    Raises:
        ConfigError: the name is not valid or taken, or the file exists or cannot be written.
    """
    name = target.stem if target.suffix == ".py" else target.name
    where = f"new-method {target}"
    check_method_name(name, where)
    title = name.replace("_", " ").title()
    words = {"my_method": name, "MyMethod": title.replace(" ", ""), "My Method": title}
    if keyword.iskeyword(words["MyMethod"]):
        raise ConfigError(f"{where}: its class would be {words['MyMethod']}, a keyword of Python. Take another name.")
    files = [target.with_name(f"{name}{suffix}") for suffix in (".py", ".yaml")]
    if there := [str(file) for file in files if file.exists()]:
        raise ConfigError(f"{where}: {' and '.join(there)} would be overwritten. Take another name, or move the file.")
    if name in method_names():
        raise ConfigError(f"{where}: the name '{name}' is taken ({source_of(name).label}). Take another name.")
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
    """The next commands, relative to the current folder."""
    ours = files[0].parent.resolve() == METHODS
    run, kit, guide = (_from_here(REPOSITORY / part) for part in ("run_all.py", "tests/test_every_method.py", "docs"))
    which = f"--methods zero_shot {name}" if ours else f"--plugin {files[0]} --methods zero_shot {name}"
    check = f"--method {name}" if ours else f"--plugin {files[0]}"
    return (
        f"Written: {files[0]} and {files[1]}. They can be run as they are:\n\n"
        f"  python {run} {which} --datasets {DATASET} --seeds 1\n"
        f"  pytest {kit} {check}\n\n"
        "The first trains and scores it next to zero-shot CLIP on one embedded dataset and prints where the table is.\n"
        f"The second checks that it keeps the rules of all methods. Next: {guide}/adding-a-method.md"
    )


def _from_here(path: Path) -> str:
    """A path of the checkout, relative to the current folder if that is in the checkout."""
    return os.path.relpath(path) if Path.cwd().is_relative_to(REPOSITORY) else str(path)
