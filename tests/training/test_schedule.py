"""The learning rate, the batches and the order of images."""

import json

import pytest

from benchmark.common.config import Training
from benchmark.training.schedule import batches_per_epoch, learning_rate, shuffled


@pytest.mark.golden
def test_learning_rate_equals_authors_schedule(shared):
    schedules = json.loads((shared / "goldens" / "lr" / "lr_schedule.json").read_text())["schedules"]
    assert schedules
    for epochs, golden in schedules.items():
        training = Training(epochs=int(epochs), batch_size=1)
        rates = [learning_rate(training, epoch) for epoch in range(int(epochs))]
        assert rates == pytest.approx(golden["lr_per_epoch"], abs=1e-12)


@pytest.mark.parametrize("count, size, steps", [(80, 32, 2), (64, 32, 2), (31, 32, 1), (1, 1, 1), (80, 128, 1)])
def test_last_incomplete_batch_is_dropped_unless_it_is_the_only_one(count, size, steps):
    assert batches_per_epoch(count, size) == steps


def test_shuffle_is_a_permutation_that_depends_on_seed_and_epoch_alone():
    first = shuffled(100, 1, 0)
    assert sorted(first) == list(range(100))
    assert first == shuffled(100, 1, 0)
    assert first not in (shuffled(100, 1, 1), shuffled(100, 2, 0))
