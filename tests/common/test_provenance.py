"""Commit, versions, machine and hashes; unknown values are null and never an exception."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmark.common import provenance
from benchmark.common.provenance import git_state, machine, sha256_file, sha256_folder, versions
from benchmark.errors import DataError

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
UNKNOWN = {"commit": None, "dirty": None}


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit, in place of this one; git_state() reads it afresh at each call."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "checkout"
    (folder / "methods").mkdir(parents=True)
    (folder / "methods" / "coop.py").write_text("a = 1\n")
    (folder / ".gitignore").write_text("__pycache__/\nresults/\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--no-verify", "-m", "first")
    monkeypatch.setattr(provenance, "REPOSITORY", folder)
    monkeypatch.setattr(provenance, "_git_state", provenance._git_state.__wrapped__)
    return folder


@needs_git
@pytest.mark.parametrize(
    ("file", "dirty"),
    [
        ("methods/coop.py", True),
        (".gitignore", True),
        ("methods/mine.py", True),
        ("notes.txt", False),
        ("results/synthetic/table.md", False),
    ],
)
def test_git_state_is_dirty_for_changed_tracked_file_or_new_code_only(checkout, monkeypatch, file, dirty):
    commit = git(checkout, "rev-parse", "HEAD")[:12]
    monkeypatch.setenv("GIT_DIR", str(checkout / "elsewhere"))  # as inside a hook of another repository
    assert git_state() == {"commit": commit, "dirty": False}
    path = checkout / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + "# more\n")
    assert git_state() == {"commit": commit, "dirty": dirty}


@needs_git
def test_git_state_is_unknown_in_a_folder_of_another_repository_and_before_the_first_commit(checkout, monkeypatch):
    monkeypatch.setattr(provenance, "REPOSITORY", checkout / "methods")
    assert git_state() == UNKNOWN
    git(checkout / "methods", "init", "--quiet")
    assert git_state() == UNKNOWN


@pytest.mark.parametrize("cause", ["no checkout", "no git", "git hangs"])
def test_git_state_is_unknown_without_a_checkout_and_without_a_working_git(tmp_path, monkeypatch, cause):
    def hang(*_, **__):
        raise subprocess.TimeoutExpired("git", 30)

    monkeypatch.setattr(provenance, "_git_state", provenance._git_state.__wrapped__)
    if cause == "no checkout":
        monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    elif cause == "no git":
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setattr(subprocess, "run", hang)
    assert git_state() == UNKNOWN


def test_versions_and_machine_name_no_host_and_are_json(monkeypatch):
    found = versions()
    assert list(found) == ["python", "torch", "transformers", "accelerate", "numpy", "pillow"]
    assert found["python"].startswith("3.") and found["numpy"] == __import__("numpy").__version__
    monkeypatch.setattr(provenance, "PACKAGES", ("no-such-package-here",))
    assert versions()["no-such-package-here"] is None
    assert list(machine()) == ["platform", "processor", "cores"]
    assert json.loads(json.dumps({"machine": machine(), "versions": versions(), "git": git_state()}))
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert machine()["cores"] == os.cpu_count()


PATTERNS = ("*.json", "*.safetensors", "sub/*.txt")


def make_folder(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "sub" / "merges.txt").write_text("a b")
    return folder


def test_folder_hash_depends_on_names_and_contents_alone(tmp_path):
    first, second = make_folder(tmp_path / "a"), make_folder(tmp_path / "b")
    (second / "README.md").write_text("not matched")
    before = sha256_folder(first, PATTERNS)
    assert before == sha256_folder(str(second), [*reversed(PATTERNS), "config.*"]) and len(before) == 64
    (first / "config.json").write_text("")
    (first / "sub" / "merges.txt").write_text("a b{}")
    assert sha256_folder(first, PATTERNS) != before
    (second / "config.json").rename(second / "other.json")
    renamed = sha256_folder(second, PATTERNS)
    (second / "empty.json").write_text("")
    assert len({before, renamed, sha256_folder(second, PATTERNS)}) == 3


def test_hash_of_a_missing_file_or_of_no_files_is_refused(tmp_path):
    assert sha256_file(__file__) == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    with pytest.raises(DataError, match=r"none\.bin: cannot be read \(No such.*\)\. Restore the file"):
        sha256_file(tmp_path / "none.bin")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match=r"holds no file that matches \*\.json or \*\.txt"):
            sha256_folder(folder, ["*.json", "*.txt"])
