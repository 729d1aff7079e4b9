"""Fixtures shared by all tests: the goldens beside the project, a tiny random CLIP, pictures as random features."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch, as run_all.py does

import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file
from transformers.utils import logging

from benchmark.clip.backbone import Clip, ImageFeatures, load_clip
from benchmark.data.catalog import Dataset, load_dataset
from benchmark.data.splits import few_shot
from benchmark.data.synthetic.suite import CHECKPOINT, generate_datasets, suite_version
from benchmark.errors import ConfigError
from benchmark.features.cache import cache_folder
from benchmark.plugins import discovery
from benchmark.plugins.scaffold import SKELETON
from tests.conformance.chosen import CHOSEN, choose

logging.disable_progress_bar()
SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser):
    """What the conformance kit, test_every_method.py, is run on."""
    kit = parser.getgroup("conformance kit")
    kit.addoption("--method", action="append", default=[], metavar="NAME", help="check this method; may be repeated "
                  "(default: all of them, or the plugins that are given)")  # fmt: skip
    kit.addoption("--plugin", action="append", default=[], metavar="FILE", help="a method outside this repository, "
                  "its recipe beside it; may be repeated")  # fmt: skip


def pytest_configure(config):
    if getattr(config.option, "dist", "no") == "load":  # pytest -n 2
        config.option.dist = "loadfile"  # tests of one file share runs
        config.option.loadscopereorder = False  # else the files of few long tests came last
    torch.set_num_threads(1)  # as in a process of a grid; tensors this small gain nothing from more, workers lose
    try:
        config.stash[CHOSEN] = choose(config.getoption("--method"), config.getoption("--plugin"))
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory, pytestconfig) -> Iterator[None]:
    """Tests leave the user's cache alone; the workers of `pytest -n 2` share one, as the processes of a grid do."""
    folder = tmp_path_factory.getbasetemp()  # a worker's own, beside those of the others
    folder = folder.parent if hasattr(pytestconfig, "workerinput") else folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPL_BENCHMARK_CACHE", str(folder / "cache"))
        yield


@pytest.fixture(scope="session")
def embedded(own_cache) -> Callable[..., Path]:
    """embedded("synth_actions"): the cache's folder of datasets, these drawn in it; who changes one copies it first."""

    def drawn(*names: str) -> Path:
        root = cache_folder() / f"synthetic-{suite_version()}"
        generate_datasets(root, names)
        return root

    return drawn


@pytest.fixture
def sketched(monkeypatch) -> None:
    """Figures are composed and not rendered, which is most of a small run's time: where a test is not about them."""

    def save(figure, target, *, format, metadata):
        assert figure.axes and metadata["Description"]
        target.write(b"<svg></svg>" if format == "svg" else b"PNG")

    monkeypatch.setattr(Figure, "savefig", save)


@pytest.fixture
def own_plugins(monkeypatch) -> Iterator[None]:
    """What a test adds to the methods, by file or by package, is gone after it."""
    monkeypatch.setattr(discovery, "_added", dict(discovery._added))
    modules = set(sys.modules)
    yield
    discovery._entries.cache_clear()
    for name in set(sys.modules) - modules:
        if not name.startswith(("torch", "benchmark", "methods", "tables")):
            del sys.modules[name]


@pytest.fixture
def plugin(tmp_path, own_plugins):
    """plugin("name", code, recipe): the path of a plugin's file, by default one that works; recipe None writes none."""

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
    """package("our-methods", {"name": "module:Class"}): an installed package with these entry points, version 1.2."""

    def install(name, entries, modules=("ours",), recipe=True):
        site = tmp_path / "site-packages"
        for module in modules:
            (site / "our_methods").mkdir(parents=True, exist_ok=True)
            (site / "our_methods" / "__init__.py").write_text("")
            (site / "our_methods" / f"{module}.py").write_text(SKELETON.read_text())
            if recipe:
                text = SKELETON.with_suffix(".yaml").read_text()
                (site / "our_methods" / f"{module}.yaml").write_text(text)
        info = site / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        lines = [f"{key} = {value}" for key, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[copl_benchmark.methods]", *lines]) + "\n")
        monkeypatch.syspath_prepend(site)
        discovery._entries.cache_clear()

    return install


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of goldens and fixtures beside the checkout."""
    if not (SHARED / "goldens").is_dir():
        pytest.skip("the goldens are not beside this checkout (../shared)")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared):
    """golden("coop_ctxinit"): the tensors and the manifest of what the authors' code printed."""

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
    """The embedded CLIP: small, trained, and always there."""
    return load_clip(CHECKPOINT)


@pytest.fixture(scope="session")
def clip64() -> Clip:
    """The embedded CLIP in double precision, to tell rounding from error."""
    return load_clip(CHECKPOINT, dtype=torch.float64)


@pytest.fixture(scope="session")
def dataset(embedded) -> Dataset:
    """A small sample of the embedded actions: 2 shots, 40 test pictures."""
    whole = load_dataset("synth_actions", embedded("synth_actions"))
    train, val = few_shot(whole, shots=2, seed=1)
    return dataclasses.replace(whole, train=train, val=val, test=whole.test[::10])


@pytest.fixture
def pictures():
    """pictures(clip, 6): features of that many random images, patches as wanted; the same for the same seed."""

    def draw(clip: Clip, count: int, patches: str | None = "projected", seed: int = 0) -> ImageFeatures:
        generator = torch.Generator().manual_seed(seed)
        size = clip.image_size
        return clip.encode_images(torch.randn(count, 3, size, size, generator=generator), patches)

    return draw
