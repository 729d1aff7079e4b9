"""Provenance of runs: commits, commands, recipes, time and memory."""

import dataclasses

import pytest

from benchmark.common.config import Training, load_suite
from tables.report import provenance


def cells(grid):
    return [[cell.text for cell in row] for row in grid.rows]


@pytest.fixture
def runs(record):
    """Two seeds of CoOp and one run of CLIP, with times and memory."""
    coop = [
        dataclasses.replace(
            record("coop", "dtd", 1, 1, seed=seed),
            training={"steps": 100, "seconds": 1800.0},
            evaluation_seconds=180.0,
            peak_memory_bytes=seed * 2**30,
            warnings=["few steps"],
        )
        for seed in (1, 2)
    ]
    return [*coop, record("zero_shot", "dtd", 1, 1)]


def test_hours_are_summed_memory_is_the_highest_and_warnings_are_counted(runs):
    assert cells(provenance.runs_grid(runs)) == [
        ["CLIP", "base2new", "1", "0", "0.000", "0.000", "—"],
        ["CoOp", "base2new", "2", "200", "1.000", "0.100", "2.00"],
    ]
    assert dict(provenance.facts(runs))["training and scoring"] == "1.10 hours, summed over runs"
    assert provenance.warnings(runs) == ["few steps (2 runs)"]
    changed = dataclasses.replace(runs[0], provenance={"git": {"commit": "b", "dirty": True}})
    facts = dict(provenance.facts([changed, *runs[1:]]))
    assert (facts["commit"], facts["seeds"], facts["device"]) == ("abc123, b+changes", "1, 2", "unknown")


def test_equal_recipes_share_a_row(runs, record):
    fewer = record("coop", "eurosat", 1, 1, overrides={"n_ctx": 2}, options={"n_ctx": 2})
    rows = cells(provenance.recipes_grid([*runs, fewer]))
    assert [row[0] for row in rows] == ["CLIP", "CoOp", "CoOp"]
    assert rows[1][1:] == ["n_ctx = 4", rows[2][2], "—", "base2new; 16 shots; dtd"]
    assert rows[2][3] == "n_ctx"
    assert "epochs = 10" in rows[1][2]


def test_command_names_only_what_differs_from_the_suite(record):
    whole = [record("coop", name, 1, 1) for name in load_suite("paper").datasets]
    [command] = provenance.commands(whole)
    assert command == (
        "python run_all.py --protocol base2new --suite paper --data FOLDER --methods coop --seeds 1 --shots 16 "
        "--backbone openai/clip-vit-base-patch16 --precision fp32"
    )
    assert "--datasets imagenet --seeds" in provenance.commands(whole[:1])[0]
    assert "--data FOLDER --dataset mine=PATH" in provenance.commands([*whole, record("coop", "mine", 1, 1)])[0]
    repeated = record("coop", "dtd", 1, 1, training=Training(epochs=10, batch_size=1, views=5))
    assert "--precision fp32 --views 5" in provenance.commands([repeated, record("zero_shot", "dtd", 1, 1)])[0]
    embedded = record("coop", "synth_pets", 1, 1, suite="synthetic", backbone="embedded")
    assert "--data" not in provenance.commands([embedded])[0].replace("--datasets", "")


def test_command_of_a_transfer_names_its_source_and_quotes_for_the_shell(record):
    run = record("coop", "caltech101", 1, 1, protocol="cross_dataset", targets={"dtd": "{}."},
                 overrides={"ctx_init": "a; b", "n_ctx": 2})  # fmt: skip
    [command] = provenance.commands([run])
    assert "--source caltech101 --datasets caltech101 dtd" in command
    assert "--set 'coop.ctx_init=a; b' --set coop.n_ctx=2" in command
    shifted = record("coop", "imagenet", 1, 1, protocol="domain_generalization", targets={"imagenet_r": "{}."})
    assert "--datasets imagenet_r --seeds" in provenance.commands([shifted])[0]
