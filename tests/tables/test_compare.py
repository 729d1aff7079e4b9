"""Two results compared: matched runs, differences and their spread, what one side alone has, and what else differs."""

import dataclasses

import pytest

from benchmark.records.store import save
from tables.compare.differences import by_run, differences, setting_differences
from tables.compare.report import main
from tables.publish import to_csv

SEEDS = (1, 2, 3)


def put(folder, records):
    for record in records:
        save(record, folder, predictions={}, learned=None)
    return folder


def rows_of(text, heading):
    """The cells of the table under a heading, row by row."""
    part = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture
def sides(record):
    """CLIP and CoOp on one dataset, three seeds; in B, CoOp's new classes differ by +1, -1 and +3 points."""
    a = [record("zero_shot", "dtd", 50, 60, seed=seed) for seed in SEEDS]
    b = list(a)
    for seed, new, more in ((1, 40, 1), (2, 44, -1), (3, 48, 3)):
        a.append(record("coop", "dtd", 70, new, seed=seed))
        b.append(record("coop", "dtd", 70, new + more, seed=seed))
    return a, b


def test_differences_are_paired_by_seed_and_judged_by_the_spread_over_seeds(sides):
    a, b = (by_run(records, "") for records in sides)
    cells = {cell.place[1::3]: cell for cell in differences(a, b)}
    changed = cells["coop", "new"]
    assert changed.points == pytest.approx({1: 1, 2: -1, 3: 3})
    assert changed.largest == pytest.approx(3)
    # A has 40, 44, 48: deviation 4; B 41, 43, 51: deviation sqrt(28)
    assert changed.spread == pytest.approx(((16 + 28) / 2) ** 0.5)
    assert changed.verdict == "within"
    assert {place for place, cell in cells.items() if cell.largest == 0} == cells.keys() - {("coop", "new")}


def test_any_difference_of_equal_seeds_is_outside_and_one_seed_has_no_verdict(record):
    a, b = ([record("zero_shot", "dtd", 50, new, seed=seed) for seed in SEEDS] for new in (60, 60.01))
    found = {cell.place[-1]: cell.verdict for cell in differences(by_run(a, ""), by_run(b, ""))}
    assert found == {"base": "within", "new": "outside"}
    [base, new] = differences(by_run(a[:1], ""), by_run(b[:1], ""))
    assert (base.verdict, new.verdict, new.spread) == ("—", "—", None)


def test_report_lists_what_differs_largest_first_and_the_limit_decides_the_exit_code(sides, tmp_path, record, capsys):
    a, b = sides
    a.append(record("coop", "eurosat", 70, 60))
    b.append(record("coop", "eurosat", 70, 60.2, commit="def456", overrides={"epochs": 2}))
    paths = [str(put(tmp_path / name, records)) for name, records in (("a", a), ("b", b))]
    assert main(paths) == main([*paths, "--fail-above", "3"]) == 0
    assert main([*paths, "--fail-above", "2.99"]) == 1
    text = capsys.readouterr().out.split("# Two results compared")[-1]
    assert "Above 2.99 points: 1 of 14 differences." in text
    assert "in both: 7 runs, in A alone 0, in B alone 0" in text
    assert (
        "cells that differ: 2; mean difference within the spread over seeds: 1, outside: 0, without a spread: 1" in text
    )
    first, second = rows_of(text, "Accuracy")
    assert first == ["base2new", "coop", "dtd", "16", "new", "44.00", "45.00", "+1.00", "4.69", "within",
                     "1: +1.00, 2: -1.00, 3: +3.00"]  # fmt: skip
    assert second[2:] == ["eurosat", "16", "new", "60.00", "60.20", "+0.20", "—", "—", "1: +0.20"]
    assert sorted(rows_of(text, "Settings, versions and commits")) == [
        ["--set epochs", "—", "2", "coop", "1"], ["commit", "abc123", "def456", "coop", "1"]
    ]  # fmt: skip
    assert rows_of(text, "Runs of one side") == []


def test_runs_of_one_side_are_listed_with_their_seeds_and_do_not_fail(sides, tmp_path, capsys):
    a, _ = sides
    left, right = put(tmp_path / "a", a), put(tmp_path / "b", a[:4])
    assert main([str(left), str(right), "--fail-above", "0"]) == 0
    text = capsys.readouterr().out
    assert rows_of(text, "Runs of one side") == [["A", "base2new", "coop", "dtd", "16", "2, 3"]]
    assert "No accuracy differs." in text and "No difference." in text


def test_settings_versions_and_machine_that_differ_are_named_with_their_runs(record):
    a = record("coop", "dtd", 70, 60)
    spec = dataclasses.replace(a.spec, options={"n_ctx": 16}, images="1+3",
                               training=dataclasses.replace(a.spec.training, epochs=5, views=2))  # fmt: skip
    known = {"versions": {"torch": "2.13"}, "device": "cpu", "threads": 1}
    others = {"versions": {"torch": "2.14"}, "device": "cuda", "threads": 2, "machine": {"processor": "X"}}
    a = dataclasses.replace(a, provenance=a.provenance | known)
    b = dataclasses.replace(a, spec=spec, provenance=a.provenance | others)
    found = setting_differences(by_run([a], ""), by_run([b], ""))
    assert set(found) == {
        ("options.n_ctx", "4", "16"), ("training.epochs", "10", "5"), ("training.views", "—", "2"),
        ("images", "1+2", "1+3"),
        ("version of torch", "2.13", "2.14"), ("device", "cpu", "cuda"), ("threads", "1", "2"),
    }, "not the processor, which one side alone knows"  # fmt: skip


def test_confidences_are_compared_where_accuracies_are_equal(record, detailed, tmp_path, capsys):
    one = detailed(record("coop", "dtd", 70, 60))
    other = dataclasses.replace(one, scores=detailed(record("coop", "dtd", 70, 60, seed=2)).scores)
    for records, count in ((one, 2), (other, 0), (record("coop", "dtd", 70, 60), 0)):
        pair = [str(put(tmp_path / f"{side}{count}", [r])) for side, r in (("a", one), ("b", records))]
        assert main(pair) == 0
        line = f"2, of which 2 with the same accuracies, {count} of them with the same confidences and log-likelihood"
        assert line in capsys.readouterr().out


def test_published_file_is_compared_with_a_folder(sides, tmp_path, capsys):
    a, b = sides
    file = tmp_path / "a.csv"
    file.write_text(to_csv(a))
    assert main([str(file), str(put(tmp_path / "b", b))]) == 0
    assert len(rows_of(capsys.readouterr().out, "Accuracy")) == 1


def test_folders_that_cannot_be_compared_are_one_message(record, tmp_path, capsys):
    folders = {
        "paper": [record("coop", "dtd", 70, 60)],
        "other": [record("coop", "dtd", 70, 60, suite="other")],
        "both": [record("coop", "dtd", 70, 60, suite=suite) for suite in ("paper", "other")],
        "apart": [record("coop", "eurosat", 70, 60)],
        "twice": [record("coop", "dtd", 70, 60), record("coop", "dtd", 70, 60, options={"n_ctx": 8})],
        "empty": [],
    }
    path = {name: str(put(tmp_path / name, records)) for name, records in folders.items()}
    for pair, message in (
        (("paper", "other"), f"the suites are: {path['paper']} paper and {path['other']} other."),
        (("both", "both"), f"the suites are: {path['both']} other, paper and"),
        (("paper", "apart"), "have no run (protocol, method, dataset, shots, seed) in common"),
        (("paper", "twice"), "twice: holds two runs of coop on dtd, base2new, 16 shots, seed 1: paper/base2new/coop"),
        (("paper", "empty"), "empty: holds no record"),
    ):
        assert main([path[name] for name in pair]) == 2
        out, error = capsys.readouterr()
        assert message in error and out == ""
        assert error.splitlines()[-1].startswith("error: ") and len(error.splitlines()) <= 2


def test_difference_of_the_limit_is_not_above_it(record, tmp_path):
    assert 100 * 644 / 1000 - 100 * 639 / 1000 > 0.5, "in float64"
    pair = [record("coop", "dtd", right / 10, 50, total=1000) for right in (639, 644)]
    paths = [str(put(tmp_path / side, [run])) for side, run in zip("ab", pair, strict=True)]
    assert main([*paths, "--fail-above", "0.5"]) == 0


@pytest.mark.parametrize("points", ["-1", "nan", "inf", "half"])
def test_limit_is_a_number_of_points(points, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["a", "b", f"--fail-above={points}"])
    assert caught.value.code == 2
    assert f"'{points}' is not a number of points from 0 on" in capsys.readouterr().err
