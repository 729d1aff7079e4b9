"""The table of methods: a line each, with what it learns, learned values, seconds and averages."""

import numpy as np
import pytest
import safetensors.numpy

from benchmark.plugins.discovery import method_names
from benchmark.records.store import save
from tables.methods import main


@pytest.fixture
def lines(record, tmp_path, capsys):
    """The cells of each line by the method's title, of CLIP and CoOp on two datasets with two seeds."""
    learned = safetensors.numpy.save({"ctx": np.zeros((4, 300), np.float32)})
    for dataset, more in (("dtd", 0), ("eurosat", 20)):
        for seed in (1, 2):
            clip = record("zero_shot", dataset, 50 + more, 60, seed=seed)
            coop = record("coop", dataset, 70 + more, 40, seed=seed, seconds=10.0 * seed)
            save(clip, tmp_path, predictions={}, learned=None)
            save(coop, tmp_path, predictions={}, learned=learned)
    assert main(["--from", str(tmp_path)]) == 0
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    return {row[0]: row[1:] for row in cells if len(row) > 1}


def test_line_has_learned_values_seconds_and_averages(lines):
    assert lines["CLIP"][2:] == ["0", "1.0", "60.00", "60.00", "60.00"]
    assert lines["CoOp"][2:] == ["1,200", "16.0", "80.00", "40.00", "53.33"]


def test_every_method_has_a_line_and_says_what_it_learns_and_where(lines):
    assert len(lines) == 2 + len(method_names()), "heading and rule"
    assert all(row[0] not in ("", "-") and row[1] for row in lines.values())
    assert lines["MaPLe"][2:] == ["-"] * 5


def test_folder_without_base_to_new_is_one_message(few, tmp_path, capsys):
    save(few("coop", "dtd", 50), tmp_path, predictions={}, learned=None)
    assert main(["--from", str(tmp_path)]) == 2
    assert "holds no record of base2new. Run python run_all.py --protocol base2new." in capsys.readouterr().err
