"""The account of a plan against what its runs really did."""

import pytest

from benchmark.clip.backbone import outline
from benchmark.data.catalog import load_catalog
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.records import store
from run_all import main

ARGUMENTS = ["--datasets", "synth_actions", "--seeds", "1", "2", "--shots", "1", "--methods", "coop", "cocoop",
             "zero_shot", "--set", "coop.epochs=2", "--set", "cocoop.epochs=1"]  # fmt: skip


def rows_of(text):
    rows = (line.split() for line in text.splitlines())
    return {
        (row[1], row[2]): [int(n.replace(",", "")) for n in row[4:]]
        for row in rows
        if "synth_actions" in row and row[0] == "base2new"
    }


@pytest.mark.slow
@pytest.mark.usefixtures("sketched")
def test_plan_names_the_steps_that_the_runs_then_take(tmp_path, capsys):
    out = ["--out", str(tmp_path)]
    assert main([*ARGUMENTS, *out, "--plan"]) == 0
    text = capsys.readouterr().out
    rows = rows_of(text)
    assert main([*ARGUMENTS, *out]) == 0
    found, problems = store.collect(tmp_path)
    assert (len(found), problems) == (6, [])
    for record in found:
        runs, steps, views, tests, tokens, *_ = rows[record.spec.method, record.spec.dataset]
        assert runs == 2
        assert steps == record.training.get("steps", 0)
        assert views == record.training.get("images", 0)
        assert tests == sum(score.total for score in record.scores.values())
        assert tokens > 0
    total = [line.split() for line in text.splitlines() if line.startswith("total")][-1]
    numbers = [int(n.replace(",", "")) for n in total[1:]]
    assert numbers[0] == 6
    assert numbers[2] == 2 * rows["coop", "synth_actions"][2], "two seeds' views; CoCoOp reads CoOp's"
    assert numbers[3] == rows["coop", "synth_actions"][3], "test images once"


def test_conditional_prompts_count_once_an_image(tmp_path, capsys):
    assert main([*ARGUMENTS, "--out", str(tmp_path), "--plan"]) == 0
    rows = rows_of(capsys.readouterr().out)
    static, conditional = rows["coop", "synth_actions"], rows["cocoop", "synth_actions"]
    assert conditional[4] > 50 * static[4]
    assert conditional[5] > 50 * static[5]
    assert conditional[2] == static[2] // 2, "one epoch against two"


def test_outline_keeps_tokens_and_sizes(clip):
    small, config = outline(CHECKPOINT)
    assert small.tokenize(["a photo of a red circle."]) == clip.tokenize(["a photo of a red circle."])
    assert small.patch_count == clip.patch_count
    assert config.text_config.hidden_size == clip.token_width


@pytest.mark.slow
def test_views_that_are_read_before_training_are_counted_once(tmp_path, capsys):
    arguments = ["--protocol", "few_shot", "--datasets", "synth_actions", "--seeds", "1", "--shots", "1", "--methods",
                 "zero_shot", "tip_adapter", "tip_adapter_f", "--set", "tip_adapter_f.epochs=12", "--plan"]  # fmt: skip
    assert main([*arguments, "--set", "zero_shot.templates=selected", "--out", str(tmp_path)]) == 0
    rows = {line.split()[1]: line.split()[4:] for line in capsys.readouterr().out.splitlines() if "synth_act" in line}
    classes = load_catalog()["synth_actions"].classes
    views = {name: int(row[2]) for name, row in rows.items()}
    assert views == {"zero_shot": 0, "tip_adapter": 10 * classes, "tip_adapter_f": 12 * classes}
    tokens = {name: int(row[4].replace(",", "")) for name, row in rows.items()}
    assert tokens["zero_shot"] > 5 * tokens["tip_adapter"], "seven templates against one"
