"""The estimate of a plan equals what its runs do."""

import pytest

from benchmark.data.catalog import load_catalog
from benchmark.records import store
from run_all import main


def numbers(words):
    return [int(word.replace(",", "")) for word in words]


def rows_of(text):
    """Method to its numbers: runs, steps, train views, test images, text tokens, text and image GFLOP."""
    rows = [line.split() for line in text.splitlines()]
    return {row[1]: numbers(row[4:]) for row in rows if "synth_actions" in row and row[0] in ("base2new", "few_shot")}


@pytest.mark.slow
@pytest.mark.usefixtures("sketched")
def test_plan_prints_the_steps_views_and_images_of_the_runs(tmp_path, capsys):
    arguments = ["--datasets", "synth_actions", "--seeds", "1", "2", "--shots", "1", "--methods", "coop", "cocoop",
                 "zero_shot", "--set", "coop.epochs=2", "--set", "cocoop.epochs=1", "--out", str(tmp_path)]  # fmt: skip
    assert main([*arguments, "--plan"]) == 0
    text = capsys.readouterr().out
    assert "calibrate` adds hours and memory" in text
    rows = rows_of(text)
    assert main(arguments) == 0
    found, problems = store.collect(tmp_path)
    assert (len(found), problems) == (6, [])
    for record in found:
        images = sum(score.total for score in record.scores.values())
        wanted = [2, record.training.get("steps", 0), record.training.get("images", 0), images]
        assert rows[record.spec.method][:4] == wanted
    coop, cocoop = rows["coop"], rows["cocoop"]
    assert cocoop[4] > 50 * coop[4] > 0, "prompts for each image"
    assert cocoop[5] > 50 * coop[5]
    total = [line.split() for line in text.splitlines() if line.startswith("total")][-1]
    assert numbers(total[1:5]) == [6, 2 * (coop[1] + cocoop[1]), 2 * coop[2], coop[3]], "images are shared"


def test_views_that_are_read_before_training_count_once(tmp_path, capsys):
    arguments = ["--protocol", "few_shot", "--datasets", "synth_actions", "--seeds", "1", "--shots", "1", "--methods",
                 "zero_shot", "tip_adapter", "tip_adapter_f", "--set", "tip_adapter_f.epochs=12", "--plan"]  # fmt: skip
    assert main([*arguments, "--set", "zero_shot.templates=selected", "--out", str(tmp_path)]) == 0
    rows, classes = rows_of(capsys.readouterr().out), load_catalog()["synth_actions"].classes
    views = {name: row[2] for name, row in rows.items()}
    assert views == {"zero_shot": 0, "tip_adapter": 10 * classes, "tip_adapter_f": 12 * classes}
    assert rows["zero_shot"][4] > 5 * rows["tip_adapter"][4], "seven templates against one"


def test_runs_that_read_the_rows_of_a_layer_encode_and_compute_on_their_own(tmp_path, capsys):
    """MMA reads rows of layer 2, which two layers make."""
    settings = ["maple.depth=2", "mma.first=3", "mma.last=3", "mma.batch_size=4",
                *(f"{name}.epochs=2" for name in ("coop", "maple", "mma"))]  # fmt: skip
    arguments = ["--datasets", "synth_actions", "--shots", "1", "--seeds", "1", "2"]
    arguments += ["--methods", "maple", "mma", "coop", *(word for each in settings for word in ("--set", each))]
    assert main([*arguments, "--plan", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    rows, lines = rows_of(text), [line for line in text.splitlines() if line.startswith("total")]
    total, coop, maple, mma = numbers(lines[-1].split()[1:]), rows["coop"], rows["maple"], rows["mma"]
    assert maple[2:4] == mma[2:4] == coop[2:4], "views and test images of one run"
    assert total[2:4] == [6 * coop[2], 5 * coop[3]], "test images of CoOp are shared"
    assert maple[6] > mma[6] > 0


def test_repeated_views_count_once_but_what_does_not_stay_in_memory_in_every_epoch(tmp_path, capsys, monkeypatch):
    arguments = ["--datasets", "synth_actions", "--shots", "1", "--seeds", "1", "--methods", "coop", "copl", "--set",
                 "coop.epochs=9", "--set", "copl.epochs=9", "--plan", "--out", str(tmp_path)]  # fmt: skip
    views = []
    for more, limit in (([], 1 << 30), (["--views", "3"], 1 << 30), (["--views", "3"], 1)):
        monkeypatch.setattr("benchmark.costs.estimate.STORE_BYTES", limit)
        assert main([*arguments, *more]) == 0
        text = capsys.readouterr().out
        views.append([rows_of(text)[name][2] for name in ("coop", "copl")])
        assert ("3 views of each training image" in text) == bool(more)
    assert views == [[36, 36], [12, 12], [12, 36]]
