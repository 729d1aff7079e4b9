"""Weights of image patches: plotted from a real run, and refused where a run has none."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from benchmark.common.files import cache_folder
from benchmark.data.images import normalise
from benchmark.errors import ConfigError, RecordError
from benchmark.inspection.alignment import alignment_of, weights_of
from benchmark.plugins.factory import create_method
from benchmark.records.store import load
from tables.attention import grid_side, main, plot, token_words

pytestmark = pytest.mark.slow  # they share runs, end to end


@pytest.fixture
def copl(trained):
    """The path of CoPL's record."""
    return trained("copl")


@pytest.fixture
def images(trained):
    """Two test images of the embedded actions."""
    return sorted(cache_folder().glob("synthetic-*/synth_actions/images/*/test_00.png"))[:2]


def test_weights_are_those_of_the_trained_method_on_the_test_view(copl, images, clip64):
    clip = clip64
    record = load(copl)
    found = alignment_of(record, copl, images)
    method = create_method(
        "copl", clip=clip, class_names=["left", "right"], template="a {}.", config=dict(record.spec.options)
    )
    start = weights_of(method, clip, found.views)
    method.load_learned_state(load_file(copl.with_suffix(".safetensors")))
    pictures = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in images])
    pixels = normalise(torch.from_numpy(pictures), dtype=torch.float64)
    with torch.no_grad():
        wanted = method.alignment(clip.encode_images(pixels, "projected")).numpy()
    assert found.weights.shape == (2, clip.patch_count, 4)
    assert np.array_equal(found.weights, wanted)
    assert not np.allclose(found.weights, start, atol=1e-4), "training changes them"


def test_panels_show_the_image_and_the_weights_of_each_token_on_one_scale(copl, images):
    found = alignment_of(load(copl), copl, images)
    words = token_words(load(copl).spec, 4)
    assert token_words(load(copl).spec, 3) == ["v1", "v2", "v3"], "not as many as initial words"
    figure = plot(found.views, found.weights, words=words, names=["one", "two"])
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 10
    side = grid_side(found.weights.shape[1])
    for number, axes in enumerate(panels):
        row, column = divmod(number, 5)
        assert len(axes.images) == (2 if column else 1)
        if column:
            shown = axes.images[1]
            assert np.array_equal(shown.get_array(), found.weights[row, :, column - 1].reshape(side, side))
            assert shown.get_clim() == (float(found.weights.min()), float(found.weights.max()))
    assert [axes.get_xlabel().split("\n")[0] for axes in panels[:5]] == ["image", "“a”", "“photo”", "“of”", "“a”"]


def test_files_are_reproducible_and_by_default_next_to_the_record(copl, images, tmp_path, capsys):
    assert main(["--run", str(copl), "--images", *map(str, images)]) == 0
    default = copl.with_name(f"{copl.stem}-attention.png")
    assert str(default) in capsys.readouterr().out
    with Image.open(default) as image:
        assert image.format == "PNG"
        assert image.width > image.height > 400, "two rows of five panels"
    files = [tmp_path / f"{number}.svg" for number in range(2)]
    for file in files:
        assert main(["--run", str(copl), "--images", str(images[0]), "--out", str(file)]) == 0
    first, second = (file.read_bytes() for file in files)
    assert first == second
    assert "“photo”".encode() in first
    assert b"not the paper" in first, "the note of the suite"


@pytest.mark.parametrize(
    "changes, options, message",
    [
        ({}, {"local": False}, r"single patch \(local: false\)"),
        ({}, {"n_ctx": 2, "ctx_init": None}, r"'ctx' has shape \(4, "),
        ({"checkpoint": "f" * 16}, {}, "not what this run had.*ffffffffffffffff"),
    ],
)
def test_run_that_does_not_fit_its_tensors_or_checkpoint_is_refused(copl, images, changes, options, message):
    record = load(copl)
    spec = dataclasses.replace(record.spec, options={**record.spec.options, **options}, **changes)
    with pytest.raises((ConfigError, RecordError), match=message):
        alignment_of(dataclasses.replace(record, spec=spec), copl, images)


def test_invalid_arguments_are_refused_with_one_message(copl, trained, images, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG nothing")
    for run, image, more, message in (
        (copl, broken, [], "broken.png: cannot be decoded"),
        (copl, tmp_path / "no.png", [], "no.png: is missing"),
        (tmp_path / "no.json", images[0], [], "no.json: cannot be read"),
        (copl, images[0], ["--out", "weights.gif"], "must end in .png or .svg"),
        (trained("coop"), images[0], [], "a method that has an alignment: copl."),
    ):
        assert main(["--run", str(run), "--images", str(image), *more]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(ConfigError, match="50 patches do not form a square grid"):
        grid_side(50)
