"""Figures: the numbers they draw, what their captions admit, and bytes that do not change."""

import dataclasses
import io
import itertools
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from PIL import Image

from benchmark.errors import RecordError
from benchmark.records.record import Score
from tables.figures import curves, gains, targets
from tables.figures import draw as figures

ROOT = Path(__file__).resolve().parents[2]
NOTE = "These are not the paper's numbers."
HOSTILE = "a_b $x$ & <script> 100% \\alpha"


@pytest.fixture
def run(record):
    """run("few_shot", "coop", "dtd", {"all": 61.5}, seed=1, seconds=12.0): a record of any protocol."""

    def make(protocol, method, dataset, accuracies, *, seconds=None, **changes):
        scores = {
            name: Score(correct=round(100 * value), total=10000, classes=10) for name, value in accuracies.items()
        }
        made = record(method, dataset, 50, 50, protocol=protocol, **changes)
        training = {} if seconds is None else {"seconds": seconds}
        return dataclasses.replace(made, scores=scores, training=training)

    return make


@pytest.fixture
def few(run):
    """CLIP, CoOp and CoPL on two datasets at 1, 2 and 4 shots; CLIP with one seed, the others with two."""
    records = [run("few_shot", "zero_shot", name, {"all": 40.0 + 10 * i}) for i, name in enumerate(("dtd", "ucf101"))]
    for (i, name), shots, seed in itertools.product(enumerate(("dtd", "ucf101")), (1, 2, 4), (1, 2)):
        records.append(run("few_shot", "coop", name, {"all": 50.0 + 10 * i + shots + seed}, shots=shots, seed=seed))
        records.append(run("few_shot", "copl", name, {"all": 52.0 + 10 * i + shots}, shots=shots, seed=seed))
    return records


@pytest.fixture
def halves(run):
    """CLIP, CoOp, CoCoOp and CoPL on two datasets and two seeds; CoPL gains on dtd and loses on ucf101."""
    new = {"zero_shot": (60, 60), "coop": (50, 70), "cocoop": (58, 61), "copl": (57, 64)}
    return [
        run("base2new", method, name, {"base": 70, "new": value + (method == "copl") * seed}, seed=seed,
            seconds=None if method == "zero_shot" else 10.0 * seed)
        for method, values in new.items() for name, value in zip(("dtd", "ucf101"), values, strict=True)
        for seed in (1, 2)
    ]  # fmt: skip


def only(drawings, name):
    (found,) = [each for each in drawings if each.name == name]
    return found


def line_named(axes, title):
    """The x and y values of the curve or the marks that the legend calls so."""
    handles, labels = axes.get_legend_handles_labels()
    handle = handles[labels.index(title)]
    line = handle if hasattr(handle, "get_xdata") else handle.lines[0]
    return list(line.get_xdata()), list(line.get_ydata())


def test_few_shot_panels_are_the_average_then_the_datasets(few):
    figure = only(figures.draw(few, titles={"dtd": "DTD"}), "few_shot").paint()
    assert [axes.get_title() for axes in figure.axes] == ["Average", "DTD", "ucf101"]
    assert line_named(figure.axes[1], "CoOp") == ([1, 2, 4], [52.5, 53.5, 55.5])
    assert line_named(figure.axes[0], "CoOp") == ([1, 2, 4], [57.5, 58.5, 60.5])
    assert line_named(figure.axes[0], "CLIP")[1] == [45, 45], "zero-shot is one level, whatever the shots"
    assert {axes.get_xscale() for axes in figure.axes} == {"log"}


def test_one_dataset_is_not_drawn_twice(few):
    one = [r for r in few if r.spec.dataset == "dtd"]
    assert [axes.get_title() for axes in only(figures.draw(one), "few_shot").paint().axes] == ["dtd"]


def test_error_bars_are_the_sample_deviation_over_seeds(few):
    values = curves.curves_of(few)
    assert values["coop", "dtd"][4].std == pytest.approx(0.5**0.5)
    assert values["coop", curves.AVERAGE][4].std == pytest.approx(0.5**0.5)
    assert values["copl", curves.AVERAGE][4].std == 0


def test_few_shot_average_leaves_out_what_a_method_lacks_and_says_so(few):
    kept = [r for r in few if not (r.spec.method == "copl" and r.spec.dataset == "dtd" and r.spec.shots == 2)]
    assert curves.curves_of(kept)["coop", curves.AVERAGE][4].mean == 65.5, "ucf101 alone"
    caption = only(figures.draw(kept, titles={"dtd": "DTD"}), "few_shot").caption
    assert "1 of 2 datasets that every method has, without DTD" in caption
    assert "Missing: CoPL 2 of 6 runs on DTD." in caption
    assert "Not measured: CoCoOp, KgCoOp, ProGrad." in caption


def test_what_reads_the_images_without_training_is_a_curve_and_lacks_the_runs_it_lacks(few, run):
    read = [run("few_shot", "tip_adapter", "dtd", {"all": 50.0 + shots}, shots=shots, training=None, seconds=0.5)
            for shots in (1, 2)]  # fmt: skip
    drawn = only(figures.draw([*few, *read], titles={"dtd": "DTD"}), "few_shot")
    axes = {axes.get_title(): axes for axes in drawn.paint().axes}
    assert line_named(axes["DTD"], "Tip-Adapter") == ([1, 2], [51.0, 52.0])
    assert "Tip-Adapter 4 of 6 runs on DTD" in drawn.caption


def test_few_shot_without_a_common_dataset_has_no_average(few):
    kept = [r for r in few if (r.spec.method, r.spec.dataset) not in (("copl", "dtd"), ("coop", "ucf101"))]
    drawn = only(figures.draw(kept), "few_shot")
    assert drawn.paint().axes[0].get_title() == "dtd"
    assert "so there is no average" in drawn.caption


def test_gain_is_paired_by_seed_and_sorted(halves):
    gain = gains.gains_over(halves, "coop")
    assert gain["dtd"].mean == pytest.approx(8.5)
    assert gain["ucf101"].mean == pytest.approx(-4.5)
    assert gain["dtd"].std == pytest.approx(0.5**0.5)
    partial = [r for r in halves if not (r.spec.method == "coop" and r.spec.seed == 2)]
    assert gains.gains_over(partial, "coop")["dtd"].mean == pytest.approx(8.0), "the seed that both have"
    over_coop = only(figures.draw(halves), "base2new_gain").paint().axes[0]
    assert [bar.get_width() for bar in over_coop.patches] == pytest.approx([-4.5, 2.0, 8.5])
    assert [label.get_text() for label in over_coop.get_yticklabels()] == ["ucf101", "Average", "dtd"]
    assert over_coop.patches[0].get_hatch() and not over_coop.patches[2].get_hatch()


def test_gain_chart_is_of_what_was_measured_and_its_absence_is_said(halves):
    without = [r for r in halves if r.spec.method != "coop"]
    drawn = only(figures.draw(without), "base2new_gain")
    assert "Not measured: CoOp." in drawn.caption
    assert [axes.get_title() for axes in drawn.paint().axes] == ["CoPL over CoCoOp, new classes"]
    names = {each.name: each for each in figures.draw([r for r in halves if r.spec.method != "copl"])}
    assert "base2new_gain" not in names
    assert "no chart of CoPL's gain" in names["base2new_scatter"].caption


def test_scatter_has_a_mark_for_each_dataset_and_one_for_the_mean(halves):
    panels = {axes.get_title(): axes for axes in only(figures.draw(halves), "base2new_scatter").paint().axes}
    diagonal, points, average = panels["CoPL, mean 70.0 / 62.0"].lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    assert sorted(points.get_ydata()) == [58.5, 65.5]
    assert average.get_ydata()[0] == 62.0


def test_seconds_are_means_over_runs_against_h_of_the_averages(halves):
    drawn = only(figures.draw(halves), "accuracy_seconds")
    (axes,) = drawn.paint().axes
    assert line_named(axes, "CoPL") == ([15.0], [pytest.approx(2 * 70 * 62 / 132)])
    assert line_named(axes, "CLIP")[1][0] == pytest.approx(2 * 70 * 60 / 130)
    assert axes.get_xscale() == "log"


def test_method_without_recorded_time_is_named(halves):
    timeless = [dataclasses.replace(r, training={}) if r.spec.method == "coop" else r for r in halves]
    assert "no training time of CoOp." in only(figures.draw(timeless), "accuracy_seconds").caption
    none = [dataclasses.replace(r, training={}) for r in halves]
    assert "accuracy_seconds" not in {each.name for each in figures.draw(none)}


@pytest.fixture
def transfer(run):
    """CLIP and CoPL trained on caltech101 and scored on two more; CoPL's second seed lacks no target."""
    values = {"zero_shot": (90, 50, 60), "copl": (95, 52, 58)}
    names = ("caltech101", "dtd", "ucf101")
    return [
        run("cross_dataset", method, "caltech101", dict(zip(names, accuracies, strict=True)), seed=seed,
            targets={"dtd": "{} texture.", "ucf101": "{}."})
        for method, accuracies in values.items() for seed in (1, 2)
    ]  # fmt: skip


def test_transfer_rows_are_source_targets_average_less_clip(transfer):
    axes = only(figures.draw(transfer), "cross_dataset").paint().axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["caltech101 (source)\nCLIP 90.0", "dtd\nCLIP 50.0", "ucf101\nCLIP 60.0",
                      "average of targets\nCLIP 55.0"]  # fmt: skip
    assert line_named(axes, "CoPL")[0] == pytest.approx([5, 2, -2, 0])
    alone = [r for r in transfer if r.spec.method == "copl"]
    axes = only(figures.draw(alone), "cross_dataset").paint().axes[0]
    assert line_named(axes, "CoPL")[0] == pytest.approx([95, 52, 58, 55])


def test_average_of_targets_needs_all_targets(transfer):
    short = [
        dataclasses.replace(r, scores={k: v for k, v in r.scores.items() if k != "dtd"})
        if (r.spec.method, r.spec.seed) == ("copl", 2)
        else r
        for r in transfer
    ]
    assert targets.rows_of(short)[targets.AVERAGE].keys() == {"zero_shot"}


def test_two_sources_are_two_figures(transfer, run):
    other = run("cross_dataset", "copl", "dtd", {"dtd": 70, "ucf101": 60}, targets={"ucf101": "{}."})
    names = {each.name for each in figures.draw([*transfer, other])}
    assert names == {"cross_dataset_caltech101", "cross_dataset_dtd"}


def test_caption_says_how_it_was_measured(halves):
    for drawn in figures.draw(halves, note=NOTE):
        for part in ("Suite paper", "openai/clip-vit-base-patch16", "fp32", "16 shots", "seeds 1, 2", "abc123", NOTE):
            assert part in drawn.caption, drawn.name


def test_many_gaps_are_counted_instead_of_listed(few, run):
    more = [run("few_shot", "coop", f"d{i}", {"all": 50}, shots=k, seed=s)
            for i in range(5) for k in (1, 2, 4) for s in (1, 2)]  # fmt: skip
    caption = only(figures.draw([*few, *more]), "few_shot").caption
    assert "CoPL 30 runs on 5 datasets" in caption


def test_legend_of_many_methods_has_rows_of_equal_length(few, run):
    more = [run("few_shot", name, "dtd", {"all": 50.0}) for name in ("cocoop", "kgcoop", "prograd", "taskres", "ant")]
    (legend,) = only(figures.draw([*few, *more]), "few_shot").paint().legends
    assert (len(legend.get_texts()), legend._ncols) == (8, 4)


def test_same_records_give_the_same_bytes_and_leave_no_state(halves):
    before = dict(matplotlib.rcParams)
    first, second = (only(figures.draw(halves), "base2new_gain") for _ in range(2))
    assert first.svg(captioned=True) == second.svg(captioned=True)
    assert first.png() == second.png()
    assert dict(matplotlib.rcParams) == before


def test_names_stand_in_the_svg_as_they_are(halves):
    svg = only(figures.draw(halves, titles={"dtd": HOSTILE}, note=NOTE), "base2new_gain").svg()
    document = ElementTree.fromstring(svg)
    texts = ["".join(e.itertext()) for e in document.iter("{http://www.w3.org/2000/svg}text")]
    assert HOSTILE in texts
    assert "<script" not in svg
    assert not any(NOTE in text for text in texts), "the caption is beside the picture unless asked for"


def test_files_are_written_with_their_caption_inside(halves, tmp_path):
    paths = figures.write(halves, tmp_path, note=NOTE, formats=("svg",))
    names = ("base2new_gain", "base2new_scatter", "accuracy_seconds")
    assert paths == [tmp_path / "figures" / f"{name}.svg" for name in names]
    assert sorted((tmp_path / "figures").iterdir()) == sorted(paths)
    for path in paths:
        drawn = path.read_text().split("</metadata>")[1]
        assert "numbers." in drawn, "the end of the note"


def test_picture_with_its_caption_is_higher_and_as_wide(halves, tmp_path):
    drawn = only(figures.draw(halves, note=NOTE), "accuracy_seconds")
    sizes = [Image.open(io.BytesIO(drawn.png(captioned=captioned))).size for captioned in (False, True)]
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] + 30 < sizes[1][1]


def test_no_records_draw_nothing(tmp_path):
    assert figures.draw([]) == []
    assert figures.write([], tmp_path) == []


@pytest.mark.parametrize(
    "changes, what",
    [({"backbone": "other"}, "backbone"), ({"suite": "other"}, "suite"), ({"precision": "bf16"}, "precision"),
     ({"shots": 8}, "shots"), ({"options": {"n_ctx": 16}}, "options .*4.* and .*16")],
)  # fmt: skip
def test_records_that_were_not_measured_alike_are_not_drawn_together(halves, run, changes, what):
    other = run("base2new", "coop", "dtd", {"base": 1, "new": 1}, **changes)
    with pytest.raises(RecordError, match=what) as caught:
        figures.draw([*halves, other])
    assert other.spec.record_path("").as_posix() in str(caught.value)


def test_figures_need_neither_torch_nor_pyplot():
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'accelerate', 'matplotlib.pyplot'): sys.modules[name] = None\n"
        "import tables.figures.draw, tables.attention\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
