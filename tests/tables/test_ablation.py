"""The table of an ablation: averages by seed, the number of seeds above CLIP, weights of real runs, refused folders."""

import dataclasses
import json
import shutil

import pytest

from benchmark.errors import RecordError
from benchmark.records.store import load, save
from tables.ablation import above, averages, changes, main, runs_in


@pytest.fixture
def rows(record):
    """CLIP and CoPL on two datasets; seed 3 of CoPL is only on one."""
    clip = [record("zero_shot", name, 60, 70, seed=seed) for name in ("dtd", "eurosat") for seed in (1, 2, 3)]
    found = {"dtd": ((80, 60), (70, 50), (99, 99)), "eurosat": ((60, 80), (50, 70))}
    copl = [record("copl", name, *each, seed=seed) for name, of in found.items() for seed, each in enumerate(of, 1)]
    return clip, copl


def test_averages_are_over_the_seeds_that_all_datasets_have(rows):
    assert averages(rows[1]) == {1: (70, 70, 70), 2: (60, 60, 60)}


def test_seeds_are_counted_whose_h_is_above_that_of_clip(rows):
    clip, copl = map(averages, rows)
    assert clip[1][2] == pytest.approx(64.6154, abs=1e-4)
    assert (above(copl, clip), above(clip, clip), above(copl, None)) == ("1 of 2", "-", "-")


def test_options_are_those_that_differ_from_the_recipe(record):
    made = record("copl", "dtd", 60, 70, options={"n_ctx": 8, "local": False, "weighting": True})
    assert changes(made) == "`local=false`, `n_ctx=8`"
    assert changes(record("copl", "dtd", 60, 70)) == "CoPL's defaults"
    assert changes(record("zero_shot", "dtd", 60, 70)) == "CLIP"


def test_folder_without_runs_and_folder_of_two_settings_are_refused(rows, tmp_path, capsys):
    with pytest.raises(RecordError, match="has no run of base2new"):
        runs_in(tmp_path)
    for record in (rows[0][0], rows[1][0]):
        save(record, tmp_path, predictions={}, learned=None)
    assert main([str(tmp_path)]) == 2
    assert "several methods or settings" in capsys.readouterr().err


def test_folders_without_a_common_dataset_are_refused(rows, tmp_path, capsys):
    save(rows[0][0], tmp_path / "one", predictions={}, learned=None)
    other = dataclasses.replace(rows[0][0], spec=dataclasses.replace(rows[0][0].spec, dataset="pets"))
    save(other, tmp_path / "two", predictions={}, learned=None)
    assert main([str(tmp_path / "one"), str(tmp_path / "two")]) == 2
    assert "No dataset is in every folder" in capsys.readouterr().err


@pytest.mark.slow
def test_table_of_real_runs_has_weights_where_there_are_any(trained, tmp_path, capsys):
    for method in ("zero_shot", "copl", "cocoop"):
        path = trained(method)
        inside = tmp_path / f"ablation-{method}" / path.relative_to(path.parents[4])
        inside.parent.mkdir(parents=True)
        for file in path.parent.glob(f"{path.stem}.*"):
            shutil.copy(file, inside.parent)
    assert main([str(tmp_path / f"ablation-{method}") for method in ("zero_shot", "copl", "cocoop")]) == 0
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:5]]
    assert [line[0] for line in lines] == ["zero_shot", "copl", "cocoop"]
    assert 0.25 < float(lines[1][6]) < 1 and float(lines[1][7]) > 0 and lines[1][8] in ("0 of 1", "1 of 1")
    assert lines[0][6:] == lines[2][6:] == ["-"] * 3
    correct = load(trained("copl")).scores["base"]
    assert lines[1][2] == f"{100 * correct.correct / correct.total:.2f}"
    record = next((tmp_path / "ablation-copl").rglob("*.json"))
    record.with_suffix(".safetensors").unlink()
    assert main([str(tmp_path / "ablation-copl")]) == 2
    assert "is missing; it holds what this run learned" in capsys.readouterr().err
    assert json.loads(record.read_text())["spec"]["method"] == "copl"
