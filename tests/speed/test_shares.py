"""The benchmarks of a whole command and of views: they run, and their shares and counts fit together."""

import json

import pytest
import torch

from benchmark.cli import commands
from benchmark.features.encoder import ImageEncoder
from benchmark.speed import breakdown, views
from benchmark.speed.breakdown import STEP, TEXT, Clock


def rows_of(module, tmp_path, *arguments):
    module.main([*arguments, "--json", str(tmp_path / "rows.json")])
    return json.loads((tmp_path / "rows.json").read_text())["rows"]


def test_shares_of_a_command_sum_to_one_and_the_harness_is_as_before(tmp_path, monkeypatch):
    monkeypatch.setattr(breakdown, "make_backbone", lambda folder: "embedded")
    before = commands.make_plan, ImageEncoder._normalised
    small = ("--datasets", "synth_actions", "--seeds", "1", "--methods", "zero_shot", "cocoop")
    rows = rows_of(breakdown, tmp_path, *small, "--epochs", "1", "--classes", "4")
    assert {row["part"] for row in rows} == {part for part, _, _ in breakdown.PARTS} | {breakdown.OTHER}
    for case in ("embedded", "vit"):
        assert sum(row[f"{case} share"] for row in rows) == pytest.approx(1)
    idle = {row["part"] for row in rows if min(row["embedded seconds"], row["vit seconds"]) <= 0}
    assert not idle
    assert before == (commands.make_plan, ImageEncoder._normalised)


def test_backward_between_features_and_context_is_time_of_the_text_tower():
    clock, seen = Clock(), []
    context = torch.ones(2, requires_grad=True)
    inside = context * 1
    features = clock.timed(TEXT, lambda inner: inner * 2)(inside)
    clock.switch(STEP)
    features.register_hook(lambda _: seen.append(clock.switch(TEXT)))  # after the hooks of the clock
    inside.register_hook(lambda _: seen.append(clock.switch(STEP)))
    features.sum().backward()
    assert seen == [TEXT, STEP]


def test_generator_counts_for_its_part_and_ends():
    clock = Clock()

    def numbers():
        yield from (clock.switch("numbers"), 2)

    assert list(clock.timed("numbers", numbers)()) == ["numbers", 2]
    assert clock.switch("elsewhere") == "elsewhere"


def test_views_are_counted_as_the_recipes_say(tmp_path):
    rows = rows_of(views, tmp_path, "--device", "cpu", "--datasets", "eurosat", "sun397", "--views", "4")
    assert [row["dataset"] for row in rows] == ["eurosat", "sun397", "all"]
    for row in rows[:2]:
        parts = [row[name] for name in ("decode", "crop, resize", "mirror", "stack", "normalise", "test view")]
        assert min(parts) > 0
    assert rows[0]["views"] == pytest.approx(3 * 16 * 5 * 210 / 1000)
    assert rows[0]["decoded"] == pytest.approx((3 * 16 * 5 + 8100) / 1000), "small images stay decoded"
    assert rows[1]["decoded"] == pytest.approx((3 * 16 * 199 * (200 / 5 + 10) + 19850) / 1000)
    assert rows[2]["core hours"] == pytest.approx(rows[0]["core hours"] + rows[1]["core hours"])
