"""Paired rounds of a benchmark, with scripted seconds."""

import pytest

from benchmark.speed import measure


@pytest.mark.parametrize(
    "plain_seconds, rounds", [([4, 4.2, 4.1], 3), ([4, 4.8, 4.1, 4, 4], 5), ([6, 9, 6], 3), ([4, 6], 2)]
)
def test_rounds_end_early_where_ratios_agree_and_part_of_the_work_is_scaled(plain_seconds, rounds, monkeypatch):
    times = {"plain": iter(plain_seconds), "ours": iter([1.0] * 10)}
    monkeypatch.setattr(measure, "seconds", lambda work, repeats=1: next(times[work]))
    monkeypatch.setattr(measure, "peak_bytes", lambda work, device: {"plain": 6, "ours": 2}[work])
    row = measure.compare("plain", "ours", "cpu", rounds if rounds == 2 else 5, part=0.5)
    assert row["rounds"] == rounds and row["memory_ratio"] == 3
    assert (row["ratio_min"], row["ratio_max"]) == (2 * min(plain_seconds), 2 * max(plain_seconds))
