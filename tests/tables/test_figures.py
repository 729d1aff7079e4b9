"""Figures: the numbers that they show, their captions, styles of methods, and reproducible files."""

import dataclasses
import io
import itertools
from xml.etree import ElementTree

import matplotlib
import pytest
from PIL import Image

from benchmark.errors import RecordError
from tables.aggregate import AVERAGE, method_titles
from tables.figures import curves, drawing, gains, reliability
from tables.figures import draw as figures
from tables.rendering.options import TableOptions

NOTE = "These are not the paper's numbers."
HOSTILE = "a_b $x$ & <script> 100% \\alpha"


@pytest.fixture
def shots(few):
    """CLIP, CoOp and CoPL on two datasets at 1, 2 and 4 shots; CLIP with one seed, the others with two."""
    names = (("dtd", 0), ("ucf101", 10))
    return [few("zero_shot", name, 40 + more) for name, more in names] + [
        few(method, name, level + more + k + noise * seed, shots=k, seed=seed)
        for (name, more), k, seed, (method, level, noise) in itertools.product(
            names, (1, 2, 4), (1, 2), (("coop", 50, 1), ("copl", 52, 0))
        )
    ]


@pytest.fixture
def halves(record):
    """CLIP, CoOp, CoCoOp and CoPL on two datasets and two seeds; CoPL gains on dtd and loses on ucf101."""
    new = {"zero_shot": (60, 60), "coop": (50, 70), "cocoop": (58, 61), "copl": (57, 64)}
    return [
        record(method, name, 70, value + (method == "copl") * seed, seed=seed,
               seconds=None if method == "zero_shot" else 10.0 * seed)
        for method, values in new.items() for name, value in zip(("dtd", "ucf101"), values, strict=True)
        for seed in (1, 2)
    ]  # fmt: skip


def drawn(records, name, **options):
    """The one drawing of this name."""
    (found,) = [each for each in figures.draw(records, TableOptions(**options)) if each.name == name]
    return found


def points_of(axes, title):
    """The x and y values of a method, found by its entry in the legend."""
    handles, labels = axes.get_legend_handles_labels()
    handle = handles[labels.index(title)]
    line = handle if hasattr(handle, "get_xdata") else handle.lines[0]
    return list(line.get_xdata()), list(line.get_ydata())


def test_few_shot_panels_are_the_average_and_the_datasets(shots):
    axes = drawn(shots, "few_shot", titles={"dtd": "DTD"}).plot().axes
    assert [each.get_title() for each in axes] == ["Average", "DTD", "ucf101"]
    assert points_of(axes[1], "CoOp") == ([1, 2, 4], [52.5, 53.5, 55.5])
    assert points_of(axes[0], "CoOp") == ([1, 2, 4], [57.5, 58.5, 60.5])
    assert points_of(axes[0], "CLIP")[1] == [45, 45], "zero-shot does not depend on the shots"
    values = curves.curves_of(shots)
    assert values["coop", "dtd"][4].std == values["coop", AVERAGE][4].std == pytest.approx(0.5**0.5)
    assert values["copl", AVERAGE][4].std == 0
    one = [r for r in shots if r.spec.dataset == "dtd"]
    assert [each.get_title() for each in drawn(one, "few_shot").plot().axes] == ["dtd"]


def test_few_shot_average_is_over_common_datasets_and_the_caption_says_so(shots):
    kept = [r for r in shots if not (r.spec.method == "copl" and r.spec.dataset == "dtd" and r.spec.shots == 2)]
    assert curves.curves_of(kept)["coop", AVERAGE][4].mean == 65.5, "ucf101 only"
    caption = drawn(kept, "few_shot", titles={"dtd": "DTD"}).caption
    assert "1 of 2 datasets that every method has, without DTD" in caption
    assert "Missing: CoPL 2 of 6 runs on DTD." in caption
    assert "Not measured: CoCoOp, KgCoOp, ProGrad." in caption
    kept = [r for r in shots if (r.spec.method, r.spec.dataset) not in (("copl", "dtd"), ("coop", "ucf101"))]
    without = drawn(kept, "few_shot")
    assert without.plot().axes[0].get_title() == "dtd"
    assert "so there is no average" in without.caption


def test_gain_is_paired_by_seed_and_sorted(halves):
    gain = gains.gains_over(halves, "coop")
    assert (gain["dtd"].mean, gain["ucf101"].mean) == (pytest.approx(8.5), pytest.approx(-4.5))
    assert gain["dtd"].std == pytest.approx(0.5**0.5)
    partial = [r for r in halves if not (r.spec.method == "coop" and r.spec.seed == 2)]
    assert gains.gains_over(partial, "coop")["dtd"].mean == pytest.approx(8.0), "the common seed"
    axes = drawn(halves, "base2new_gain").plot().axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([-4.5, 2.0, 8.5])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ucf101", "Average", "dtd"]
    assert axes.patches[0].get_hatch() and not axes.patches[2].get_hatch()


def test_scatter_has_a_marker_per_dataset_and_one_for_the_mean(halves):
    panels = {axes.get_title(): axes for axes in drawn(halves, "base2new_scatter").plot().axes}
    _, points, average = panels["CoPL, mean 70.0 / 62.0"].lines
    assert sorted(points.get_ydata()) == [58.5, 65.5]
    assert average.get_ydata()[0] == 62.0


def test_time_is_the_mean_over_runs_and_methods_without_times_are_named(halves):
    (axes,) = drawn(halves, "accuracy_seconds").plot().axes
    assert points_of(axes, "CoPL") == ([15.0], [pytest.approx(2 * 70 * 62 / 132)])
    assert points_of(axes, "CLIP")[1][0] == pytest.approx(2 * 70 * 60 / 130)
    timeless = [dataclasses.replace(r, training={}) if r.spec.method == "coop" else r for r in halves]
    assert "no training time of CoOp." in drawn(timeless, "accuracy_seconds").caption
    none = [dataclasses.replace(r, training={}) for r in halves]
    assert "accuracy_seconds" not in {each.name for each in figures.draw(none)}


def test_transfer_shows_differences_to_clip_if_clip_was_measured(transfer_runs):
    axes = drawn(transfer_runs, "cross_dataset").plot().axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["imagenet (source)\nCLIP 61.5", "ucf101\nCLIP 65.0", "dtd\nCLIP 42.5",
                      "average of targets\nCLIP 53.8"]  # fmt: skip
    assert points_of(axes, "CoOp")[0] == pytest.approx([10, 1, -3, -1])
    axes = drawn(transfer_runs[2:], "cross_dataset").plot().axes[0]
    assert points_of(axes, "CoOp")[0] == pytest.approx([71.5, 66, 39.5, 52.75])


def test_reliability_is_accuracy_by_bin_of_pooled_images(record, detailed):
    one, other = (detailed(record("coop", name, 70, 60, total=100)) for name in ("dtd", "ucf101"))
    axes = drawn([one, other], "reliability_base2new").plot().axes[0]
    parts = [run.scores["base"].breakdown for run in (one, other)]
    totals, right, confidence = (
        [sum(pair) for pair in zip(*(getattr(part, f"bin_{name}") for part in parts), strict=True)]
        for name in ("totals", "correct", "confidence")
    )
    diagonal, base, new = axes.lines
    held = [number for number, total in enumerate(totals) if total]
    assert len(held) > 5 and list(diagonal.get_xdata()) == [0, 1]
    assert base.get_ydata() == pytest.approx([right[number] / totals[number] for number in held])
    assert base.get_xdata() == pytest.approx([confidence[number] / totals[number] for number in held])
    assert sum(axes.collections[0].get_sizes() - 2) == pytest.approx(reliability.LARGEST), "shares of images"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["base", "new"]
    assert new.get_linestyle() != base.get_linestyle()


def test_reliability_of_transfers_and_few_shot_and_of_records_without_confidences(runs_of, detailed):
    runs = [detailed(run) for run in (*runs_of["cross_dataset"], *runs_of["few_shot"])]
    found = reliability.bins_of(runs[:4])
    assert {method: list(groups) for method, groups in found.items()} == {
        method: ["source", "targets"] for method in ("zero_shot", "coop")
    }
    totals = sum(score.total for run in runs[:4] if run.spec.method == "coop" for score in run.scores.values())
    assert sum(found["coop"][group][0].sum() for group in found["coop"]) == totals
    caption = drawn(runs, "reliability_few_shot").caption
    assert "1, 16 shots" in caption, "the most of each method"
    assert "7 runs, commit" in caption
    mixed = [*runs[:3], *runs_of["cross_dataset"][3:]]
    assert "Left out: 1 runs recorded without confidences." in drawn(mixed, "reliability_cross_dataset").caption
    assert not [each for each in figures.draw(runs_of["cross_dataset"]) if each.name.startswith("reliability")]


def test_same_records_give_the_same_bytes_and_leave_no_state(halves):
    before = dict(matplotlib.rcParams)
    first, second = (drawn(halves, "base2new_gain") for _ in range(2))
    assert (first.svg(captioned=True), first.png()) == (second.svg(captioned=True), second.png())
    assert dict(matplotlib.rcParams) == before


def test_names_are_text_of_the_svg_and_the_caption_is_below_if_asked_for(halves):
    found = drawn(halves, "base2new_gain", titles={"dtd": HOSTILE}, note=NOTE)
    elements = ElementTree.fromstring(found.svg()).iter("{http://www.w3.org/2000/svg}text")
    texts = ["".join(element.itertext()) for element in elements]
    assert HOSTILE in texts
    assert not any("numbers." in text for text in texts)
    plain, captioned = (Image.open(io.BytesIO(found.png(captioned=captioned))) for captioned in (False, True))
    assert (plain.width, plain.height + 30 < captioned.height) == (captioned.width, True)


def test_files_have_captions_that_state_how_it_was_measured(halves, tmp_path):
    assert figures.draw([]) == figures.write([], tmp_path) == []
    options = TableOptions(note=NOTE)
    for found in figures.draw(halves, options):
        for part in ("Suite paper", "openai/clip-vit-base-patch16", "fp32", "16 shots", "seeds 1, 2", "abc123", NOTE):
            assert part in found.caption, found.name
    paths = figures.write(halves, tmp_path, options, formats=("svg",))
    names = ("base2new_gain", "base2new_scatter", "accuracy_seconds")
    assert paths == [tmp_path / "figures" / f"{name}.svg" for name in names]
    assert sorted((tmp_path / "figures").iterdir()) == sorted(paths)
    assert all("numbers." in path.read_text().split("</metadata>")[1] for path in paths)


def test_records_that_are_not_comparable_are_refused(halves, record):
    with pytest.raises(RecordError, match=r"coop/dtd/.*backbone"):
        figures.draw([*halves, record("coop", "dtd", 1, 1, backbone="other")])


def test_style_of_a_method_in_methods_is_fixed_and_thirty_others_differ():
    alone = drawing.line_style("tip_adapter", ["tip_adapter"])
    assert alone == drawing.line_style("tip_adapter", ["ant", "clip_adapter", "tip_adapter", "zebra"])
    assert alone["markerfacecolor"] == "white", "hollow, unlike the methods of the paper"
    styles = [drawing.line_style(method, drawing.STYLES) for method in drawing.STYLES]
    assert all(len({style[key] for style in styles}) == 6 for key in ("color", "marker"))
    names = [f"m{i:02}" for i in range(26)] + [m for m in method_titles() if m not in drawing.STYLES]
    assert len({(style.color, style.shape) for style in (drawing.style_of(name, names) for name in names)}) == 30
