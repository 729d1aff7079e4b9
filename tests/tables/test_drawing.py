"""The mark of each method: its own, the same in every figure, and told apart in grey."""

import itertools

import matplotlib.colors

from tables.aggregate import method_titles
from tables.figures import drawing


def test_marks_stay_apart_in_grey():
    def lightness(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in matplotlib.colors.to_rgb(colour)]
        luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
        return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance

    for one, other in itertools.combinations(drawing.MARKS, 2):
        first, second = (drawing.line_style(method, drawing.MARKS) for method in (one, other))
        assert abs(lightness(first["color"]) - lightness(second["color"])) > 8, (one, other)
        assert first["marker"] != second["marker"]
        assert [first[k] for k in ("linestyle", "linewidth")] != [second[k] for k in ("linestyle", "linewidth")]


def test_methods_of_this_repository_look_the_same_in_every_figure():
    alone = drawing.line_style("tip_adapter", ["tip_adapter"])
    assert alone == drawing.line_style("tip_adapter", ["ant", "clip_adapter", "tip_adapter", "zebra"])
    assert alone["markerfacecolor"] == "white", "hollow, where the paper's are filled"


def test_thirty_methods_beside_the_papers_all_look_different():
    names = [f"m{i:02}" for i in range(26)] + [m for m in method_titles() if m not in drawing.MARKS]
    assert len(names) == 30
    assert len({(mark.colour, mark.shape) for mark in (drawing.mark_of(name, names) for name in names)}) == 30


def test_plugin_methods_get_marks_of_their_own():
    methods = ["coop", "zebra", "ant", "bee"]
    marks = {name: drawing.mark_of(name, methods) for name in methods}
    assert len({mark.shape for mark in marks.values()}) == len({mark.colour for mark in marks.values()}) == 4
