"""Isolate the tests from the user's files and provide the fixtures that all tests share."""

import dataclasses
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

STARTED = "COPL_BENCHMARK_TESTS" not in os.environ  # not in a worker of pytest-xdist, which inherits the folders
HOME = Path(os.environ.setdefault("COPL_BENCHMARK_TESTS", tempfile.mkdtemp() if STARTED else ""))
if STARTED:  # before torch and huggingface_hub are imported, which read these variables once
    folders = {"HOME": "", "XDG_CACHE_HOME": ".cache", "HF_HOME": "huggingface", "COPL_BENCHMARK_CACHE": "cache"}
    os.environ.update({name: str(HOME / folder) for name, folder in folders.items()})
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch, as run_all.py does

import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file
from transformers.utils import logging

from benchmark.clip.backbone import Clip, ImageFeatures, load_clip
from benchmark.common.files import cache_folder
from benchmark.data.catalog import Dataset, load_dataset
from benchmark.data.splits import few_shot
from benchmark.data.synthetic.suite import CHECKPOINT, generate_datasets, suite_version
from benchmark.errors import ConfigError
from benchmark.plugins import discovery
from benchmark.plugins.scaffold import SKELETON
from tests.conformance.chosen import CHOSEN, choose

logging.disable_progress_bar()
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def list_results() -> set[tuple[str, int]]:
    """Return what is in the results folder of the checkout, with the times of the last changes."""
    return {(str(path), path.stat().st_mtime_ns) for path in (ROOT / "results").rglob("*")}


RESULTS = list_results()


def pytest_addoption(parser):
    """Add the options that select methods for the conformance kit, test_every_method.py."""
    kit = parser.getgroup("conformance kit")
    kit.addoption("--method", action="append", default=[], metavar="NAME", help="check this method; may be repeated "
                  "(default: all, or the given plugins)")  # fmt: skip
    kit.addoption("--plugin", action="append", default=[], metavar="FILE", help="a method outside this repository, "
                  "with its recipe next to it; may be repeated")  # fmt: skip


def pytest_configure(config):
    if getattr(config.option, "dist", "no") == "load":  # pytest -n 2
        config.option.dist = "loadfile"  # tests of a file share runs
        config.option.loadscopereorder = False  # else the files with few long tests run last
    torch.set_num_threads(1)  # as in a process of a grid; more threads only slow such small tensors down
    try:
        config.stash[CHOSEN] = choose(config.getoption("--method"), config.getoption("--plugin"))
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_sessionfinish(session):
    """Fail if a test wrote to the results folder of the checkout; delete the tests' home."""
    if STARTED and (changed := RESULTS ^ list_results()):
        session.config.get_terminal_writer().line(f"\nresults/ changed during the tests: {changed}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if STARTED:
        shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def embedded() -> Callable[..., Path]:
    """embedded("synth_actions") generates these datasets in the cache and returns their folder; copy before changes."""

    def generate(*names: str) -> Path:
        generate_datasets(root := cache_folder() / f"synthetic-{suite_version()}", names)
        return root

    return generate


@pytest.fixture
def sketched(monkeypatch) -> None:
    """Compose figures without rendering them, which takes most of the time of a small run."""

    def save(figure, target, *, format, metadata):
        assert figure.axes and metadata["Description"]
        target.write(b"<svg></svg>" if format == "svg" else b"PNG")

    monkeypatch.setattr(Figure, "savefig", save)


@pytest.fixture
def own_plugins(monkeypatch) -> Iterator[None]:
    """Remove the methods that a test adds, by file or by package, after the test."""
    monkeypatch.setattr(discovery, "_added", dict(discovery._added))
    yield
    discovery._entries.cache_clear()
    for name in list(sys.modules):  # these alone: a library that is imported in the test cannot be imported twice
        if name.startswith((discovery.PLUGIN_MODULES, "our_methods")):
            del sys.modules[name]


@pytest.fixture
def plugin(tmp_path, own_plugins):
    """plugin("name", code, recipe) writes a plugin, by default one that works; recipe None writes none."""

    def write(name: str, code: str | None = None, recipe: str | None = "", folder: str = "plugins") -> Path:
        file = tmp_path / folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SKELETON.read_text() if code is None else code)
        if recipe is not None:
            file.with_suffix(".yaml").write_text(recipe or SKELETON.with_suffix(".yaml").read_text())
        return file

    return write


@pytest.fixture
def package(tmp_path, monkeypatch, own_plugins):
    """package("our-methods", {"name": "module:Class"}) installs version 1.2 of a package with these entry points."""

    def install(name, entries, modules=("ours",), recipe=True):
        site = tmp_path / "site-packages"
        folder, info = site / "our_methods", site / f"{name.replace('-', '_')}-1.2.dist-info"
        folder.mkdir(parents=True, exist_ok=True)
        info.mkdir()
        (folder / "__init__.py").touch()
        for module in modules:
            shutil.copy(SKELETON, folder / f"{module}.py")
            if recipe:
                shutil.copy(SKELETON.with_suffix(".yaml"), folder / f"{module}.yaml")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        lines = [f"{key} = {value}" for key, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[copl_benchmark.methods]", *lines]) + "\n")
        monkeypatch.syspath_prepend(site)
        discovery._entries.cache_clear()

    return install


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of goldens and fixtures next to the checkout."""
    if not (SHARED / "goldens").is_dir():
        pytest.skip("the goldens are not next to this checkout (../shared)")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared):
    """golden("coop_ctxinit") returns the tensors and the manifest that the authors' code wrote."""

    def read(case: str) -> tuple[dict[str, torch.Tensor], dict]:
        path = shared / "goldens" / "methods" / f"{case}.safetensors"
        return load_file(path), json.loads(path.with_suffix(".json").read_text())

    return read


@pytest.fixture(scope="session")
def golden_clip(shared) -> Clip:
    """The tiny CLIP on which the authors' code was run, float32 on the CPU."""
    return load_clip(shared / "tiny-clip")


@pytest.fixture(scope="session")
def clip() -> Clip:
    """The embedded CLIP: small, trained and part of the repository."""
    return load_clip(CHECKPOINT)


@pytest.fixture(scope="session")
def clip64() -> Clip:
    """The embedded CLIP in double precision, to distinguish rounding from errors."""
    return load_clip(CHECKPOINT, dtype=torch.float64)


@pytest.fixture(scope="session")
def dataset(embedded) -> Dataset:
    """A small sample of the embedded actions: 2 shots, 40 test images."""
    whole = load_dataset("synth_actions", embedded("synth_actions"))
    train, val = few_shot(whole, shots=2, seed=1)
    return dataclasses.replace(whole, train=train, val=val, test=whole.test[::10])


@pytest.fixture
def pictures():
    """pictures(clip, 6) returns the features of that many random images, a function of the seed."""

    def draw(clip: Clip, count: int, patches: str | None = "projected", seed: int = 0) -> ImageFeatures:
        generator = torch.Generator().manual_seed(seed)
        size = clip.image_size
        return clip.encode_images(torch.randn(count, 3, size, size, generator=generator), patches)

    return draw
