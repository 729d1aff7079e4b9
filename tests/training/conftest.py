"""A factory of methods on the small dataset."""

import pytest

from benchmark.plugins.factory import create_method
from benchmark.training.loop import TrainingCopy


@pytest.fixture(scope="session")
def make_copies(clip, dataset):
    """make_copies("coop", seeds=(1, 2), n_ctx=8): fresh copies of a method, each with its seed, on the small sample."""

    def make(name, *, seeds=(1,), items=dataset, clip=clip, **config):
        shared = {"clip": clip, "class_names": items.class_names, "template": items.template, "config": config}
        return [TrainingCopy(create_method(name, seed=seed, **shared), items, seed) for seed in seeds]

    return make
