"""Pages whose commands are run: `run_page` follows a page as a reader would, in a copy of this checkout.

A marker on the line before a fenced block says what becomes of it:
    <!-- file: NAME -->     the block is written to NAME
    <!-- run -->            the block is run by bash, which must succeed
    <!-- run: exit 2 -->    the same, and it must end with this code
    <!-- output -->         every line of the block must stand in what the last run block printed
    <!-- message -->        the fixed words of every line must stand in the texts of one source file, "..." for the rest
A bash block without a marker is refused, so that no command of a page goes untried.
"""

import ast
import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import run_all
import tables.__main__

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("benchmark", "methods", "tables", "tests", "run_all.py", "pyproject.toml")  # what a reader's commands need
BLOCK = re.compile(r"(?ms)(?:^<!-- (?P<marker>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$")
SECONDS = 300  # a block that takes longer hangs


def run_page(page: Path, folder: Path, *, run: Callable[[str, Path, int], str] | None = None) -> str:
    """Do what a page says, block by block, in a copy of this checkout made in an empty folder.

    Args:
        run: does the commands of a block in a folder, holds them to their exit code and gives what they print. With
            one there is no copy.
    Returns:
        All that its commands printed.
    Raises:
        AssertionError: a block that is not marked, ends otherwise than the page says, or prints something else.
    """
    if run is None:
        _copy_checkout(folder)
    printed, last = [], ""
    blocks = list(BLOCK.finditer(page.read_text(encoding="utf-8")))
    assert any((block["marker"] or "").startswith("run") for block in blocks), f"{page.name}: no command is marked"
    for block in blocks:
        marker, text = block["marker"] or "", block["text"]
        kind, _, detail = marker.partition(": ")
        if kind == "file":
            path = folder / detail
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif kind == "run":
            last = (run or _run)(text, folder, int(detail.removeprefix("exit ") or 0))
            printed.append(last)
        elif kind == "message":
            unsaid = [line for line in text.splitlines() if not _is_said(line)]
            assert not unsaid, f"{page.name}: no source file says: {unsaid}"
        elif kind == "output":
            lost = [line for line in text.splitlines() if line.strip() not in last]
            assert not lost, f"{page.name}: not printed: {lost}; printed was:\n{last}"
        else:
            assert block["language"] not in ("bash", "sh"), f"{page.name}: mark this block, or it is never run:\n{text}"
    return "".join(printed)


def _copy_checkout(folder: Path) -> None:
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)


def _run(commands: str, folder: Path, code: int) -> str:
    """What some commands print, both streams as they come; `python` is the one that runs the tests."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of a page's commands would compile the copy anew
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == code, f"exit code {done.returncode}, not {code}, of\n{commands}\n{done.stdout}"
    return done.stdout


def in_this_process(commands: str, folder: Path, code: int) -> str:
    """As _run, line by line; what is a command of this project by itself runs here, where torch is loaded already."""
    lines, printed = commands.splitlines(), []
    for number, line in enumerate(lines, start=1):
        wanted, words = code if number == len(lines) else 0, shlex.split(line)
        main = {"run_all.py": run_all.main, "-m": tables.__main__.main}.get(words[1]) if words[0] == "python" else None
        if main is None:
            printed.append(_run(line, folder, wanted))
            continue
        with contextlib.chdir(folder), io.StringIO() as stream:
            with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
                ended = main(words[3 if words[1] == "-m" else 2 :])
            printed.append(stream.getvalue())
        assert ended == wanted, f"exit code {ended}, not {wanted}, of\n{line}\n{printed[-1]}"
    return "".join(printed)


def _is_said(message: str) -> bool:
    """Whether the words of a message between its "..." stand in the texts of one source file."""
    parts = [part.strip(" .:;,()'") for part in message.split("...")]
    return any(all(any(part in text for text in texts) for part in parts) for texts in _texts())


@cache
def _texts() -> list[list[str]]:
    """The texts in each source file, those of an f-string in pieces."""
    files = [ROOT / "run_all.py", *(ROOT / "benchmark").rglob("*.py"), *(ROOT / "tables").rglob("*.py")]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    return [
        [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        for tree in trees
    ]
