"""The figure of weights over training: the training is that of the record, and panels say how their runs differ."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from benchmark.inspection.training_weights import WeightsOverTraining, watch_training, weights_on_test_images
from benchmark.records.store import load
from tables.figures.weights import main, panel_titles, plot


@pytest.mark.slow
def test_watched_training_ends_with_what_the_run_learned(trained):
    path = trained("copl")
    record = load(path)
    trace, learned = watch_training(record), weights_on_test_images(record, path)
    steps = record.training["steps"]
    assert trace.steps[0] == 0 and trace.steps[-1] == steps and (np.diff(trace.steps) > 0).all()
    stride = len(learned) // 50
    assert np.allclose(trace.mean[-1], learned[::stride].mean(axis=(0, 1)), atol=1e-9)
    assert np.allclose(trace.mean.sum(axis=1), 1) and abs(trace.mean[-1] - trace.mean[0]).max() > 1e-4
    assert ((trace.low <= trace.mean) & (trace.mean <= trace.high)).all()


@pytest.mark.slow
def test_command_writes_the_figure_and_its_caption(trained, tmp_path, capsys):
    out = tmp_path / "weights.png"
    assert main(["--run", str(trained("copl")), "--out", str(out)]) == 0
    assert "Weights of CoPL's prompt tokens over training on synth_actions." in capsys.readouterr().out
    with Image.open(out) as image:
        assert image.format == "PNG" and image.width > image.height
    assert main(["--run", str(trained("cocoop")), "--out", str(out)]) == 2
    assert "does not weight prompt tokens by patches" in capsys.readouterr().err


def test_file_of_another_kind_is_refused(tmp_path, capsys):
    assert main(["--run", "a.json", "--out", str(tmp_path / "weights.pdf")]) == 2
    assert "must end in .png or .svg" in capsys.readouterr().err


def test_titles_name_what_differs(record):
    dot, concat = (record("copl", "dtd", 60, 70, options={"score": score, "n_ctx": 4}) for score in ("dot", "concat"))
    assert panel_titles([dot, concat]) == ["dot", "concat"]
    other = dataclasses.replace(dot, spec=dataclasses.replace(dot.spec, seed=2, dataset="eurosat"))
    assert panel_titles([dot, other]) == ["DTD, seed 1", "EuroSAT, seed 2"]
    assert panel_titles([dot]) == ["DTD"]


def test_a_line_and_a_band_for_each_token():
    mean = np.array([[0.3, 0.7], [0.1, 0.9]])
    trace = WeightsOverTraining(np.array([0, 8]), mean, mean - 0.05, mean + 0.05)
    figure = plot([trace, trace], ["one", "two"], ["a", "photo"])
    axes = figure.axes[1]
    assert axes.get_title() == "two"
    assert np.array_equal([line.get_ydata() for line in axes.lines[:2]], mean.T)
    assert len(axes.collections) == 2 and list(axes.lines[2].get_ydata()) == [0.5, 0.5]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["1: “a”", "2: “photo”"]
