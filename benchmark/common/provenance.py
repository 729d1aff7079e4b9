"""Collect the commit, library versions, machine and file hashes of a result. Unknown values are null."""

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

from benchmark.common.files import REPOSITORY
from benchmark.errors import DataError, unreadable

PACKAGES = ("torch", "transformers", "accelerate", "numpy", "pillow")
CODE = ("benchmark", "methods", "tables", "run_all.py")  # an untracked file here counts as a change
COMMIT_DIGITS = 12
INSTRUCTION_VARIABLES = (  # which choose the instructions of torch, MKL and oneDNN, and so the order of sums
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
)


def git_state() -> dict[str, str | bool | None]:
    """The commit of this checkout and whether the code differs from it, both as at the first call.

    Dirty means that a tracked file is changed or that the code folders hold an untracked file, such as a new method.
    Both are null outside a checkout, without git, and before the first commit.
    """
    commit, dirty = _git_state(REPOSITORY)
    return {"commit": commit, "dirty": dirty}


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that a result depends on; null if not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def machine() -> dict[str, str | int | None]:
    """Operating system, processor and usable cores; no host or user name."""
    usable = getattr(os, "sched_getaffinity", None)
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(usable(0)) if usable else os.cpu_count(),
    }


def instruction_variables() -> dict[str, str]:
    """The variables of the environment that choose the instructions of matrix products, if they are set."""
    return {name: os.environ[name] for name in INSTRUCTION_VARIABLES if os.environ.get(name)}


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file's content in hexadecimal; errors as digest_of."""
    return digest_of(path, "sha256")


def digest_of(path: Path | str, kind: str) -> str:
    """The "sha256" or "md5" of a file's content, in hexadecimal.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(unreadable(path, error)) from error


def sha256_folder(path: Path | str, patterns: Iterable[str]) -> str:
    """SHA-256, in hexadecimal, of the names and contents of the files that match any glob pattern.

    Raises:
        DataError: no file matches, or one cannot be read.
    """
    folder, patterns = Path(path), tuple(patterns)
    files = {found for pattern in patterns for found in folder.glob(pattern) if found.is_file()}
    if not files:
        raise DataError(f"{folder}: holds no file that matches {' or '.join(patterns) or 'an empty list of patterns'}.")
    digest = hashlib.sha256()
    for name, file in sorted((file.relative_to(folder).as_posix(), file) for file in files):
        digest.update(f"{name}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()


@functools.cache
def _git_state(folder: Path) -> tuple[str | None, bool | None]:
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != folder.resolve():  # unpacked inside another repository
        return None, None
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    added = _git(folder, "ls-files", "--others", "--exclude-standard", "--", *CODE)
    if commit is None or changed is None or added is None:
        return None, None
    return commit[:COMMIT_DIGITS], bool(changed or added)


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command; None if it fails, is missing or hangs. Takes no lock and ignores an outer GIT_DIR."""
    environment = {k: v for k, v in os.environ.items() if k not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, capture_output=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return os.fsdecode(done.stdout).strip()  # of a path


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names[0] if names else platform.processor()) or None
