"""Run the commands of a page as a reader would, in a copy of the checkout.

A marker on the line before a fenced block says what to do with the block:
    <!-- file: NAME -->     write it to NAME
    <!-- run -->            run it in bash; it must succeed
    <!-- run: exit 2 -->    run it; it must end with this exit code
    <!-- output -->         every line must be in the output of the last command
    <!-- message -->        the fixed words of every line, between "...", must be in the strings of one source file
A bash block without a marker fails, so that every command is tried.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("benchmark", "methods", "tables", "tests", "run_all.py", "pyproject.toml")  # what commands need
BLOCK = re.compile(r"(?ms)(?:^<!-- (?P<marker>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$")


def run_page(page: Path, folder: Path) -> str:
    """Follow a page, block by block, in a copy of the checkout made in an empty folder.

    Returns:
        The output of all its commands.
    Raises:
        AssertionError: a block is not marked, ends with another exit code or prints something else.
    """
    _copy_checkout(folder)
    printed, last = [], ""
    blocks = list(BLOCK.finditer(page.read_text(encoding="utf-8")))
    assert any((block["marker"] or "").startswith("run") for block in blocks), f"{page.name}: no command is marked"
    for block in blocks:
        text, (kind, _, detail) = block["text"], (block["marker"] or "").partition(": ")
        if kind == "file":
            (folder / detail).parent.mkdir(parents=True, exist_ok=True)
            (folder / detail).write_text(text, encoding="utf-8")
        elif kind == "run":
            last = _run(text, folder, int(detail.removeprefix("exit ") or 0))
            printed.append(last)
        elif kind == "message":
            unknown = [line for line in text.splitlines() if not _is_in_source(line)]
            assert not unknown, f"{page.name}: no source file says: {unknown}"
        elif kind == "output":
            lost = [line for line in text.splitlines() if line.strip() not in last]
            assert not lost, f"{page.name}: not printed: {lost}; printed was:\n{last}"
        else:
            assert block["language"] not in ("bash", "sh"), f"{page.name}: mark this block, or it is never run:\n{text}"
    return "".join(printed)


def _copy_checkout(folder: Path) -> None:
    for path in (ROOT / name for name in COPIED):
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file():
            shutil.copy(path, folder)


def _run(commands: str, folder: Path, code: int) -> str:
    """Return the output of commands, both streams; `python` is the one that runs the tests."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else every command would compile the copy again
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == code, f"exit code {done.returncode}, not {code}, of\n{commands}\n{done.stdout}"
    return done.stdout


def _is_in_source(message: str) -> bool:
    """Return whether one source file holds all parts of a message between its "..."."""
    parts = [part.strip(" .:;,()'") for part in message.split("...")]
    return any(all(any(part in text for text in texts) for part in parts) for texts in _source_strings())


@cache
def _source_strings() -> list[list[str]]:
    """Return the strings in each source file, those of an f-string in pieces."""
    files = [ROOT / "run_all.py", *(ROOT / "benchmark").rglob("*.py"), *(ROOT / "tables").rglob("*.py")]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    return [
        [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        for tree in trees
    ]
