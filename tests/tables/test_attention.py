"""Pictures tinted by prompt weights: drawn from a real run, from its own values, and refused where there are none."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import run_all
from benchmark.data.images import normalise
from benchmark.errors import ConfigError, RecordError
from benchmark.features.cache import cache_folder
from benchmark.inspection.alignment import alignment_of, weights_of
from benchmark.plugins.factory import create_method
from benchmark.records.store import load
from tables.attention import grid_side, main, paint, token_words

pytestmark = pytest.mark.slow  # they share a run, end to end


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of CoPL and CoOp, trained for a moment on the embedded actions."""
    out = tmp_path_factory.mktemp("runs")
    arguments = ["--protocol", "base2new", "--out", str(out), "--datasets", "synth_actions", "--seeds", "1"]
    arguments += ["--shots", "2", "--methods", "copl", "coop", "--set", "copl.epochs=2", "--set", "coop.epochs=1"]
    assert run_all.main(arguments) == 0
    return out


@pytest.fixture
def copl(folder):
    """The path of CoPL's record."""
    return next(p for p in folder.rglob("*.json") if "/copl/" in p.as_posix())


@pytest.fixture
def images():
    """Two test pictures of the embedded actions."""
    return sorted(cache_folder().glob("synthetic-*/synth_actions/images/*/test_00.png"))[:2]


@pytest.fixture
def altered(copl, tmp_path):
    """altered(options={...}): a copy of CoPL's record whose spec differs, its tensors beside it."""

    def make(**changes):
        raw = json.loads(copl.read_text())
        record = load(copl)
        spec = dataclasses.replace(record.spec, **changes)
        path = spec.record_path(tmp_path)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(raw | {"spec": spec.to_json(), "hash": spec.hash}))
        shutil.copy(copl.with_suffix(".safetensors"), path.with_suffix(".safetensors"))
        return path

    return make


def panels_of(figure):
    """The weights drawn in each panel, row by row; None for the picture itself."""
    return [axes.images[1].get_array() if len(axes.images) > 1 else None for axes in figure.axes if axes.images]


def test_run_and_pictures_give_an_image_file(copl, images, tmp_path, capsys):
    out = tmp_path / "weights.png"
    assert main(["--run", str(copl), "--images", *map(str, images), "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    with Image.open(out) as image:
        assert image.format == "PNG"
        assert image.width > image.height > 400, "two rows of five panels"


def test_weights_are_those_of_the_trained_method_on_the_test_view(copl, images, clip):
    record = load(copl)
    found = alignment_of(record, copl, images)
    method = create_method(
        "copl", clip=clip, class_names=["left", "right"], template="a {}.", config=dict(record.spec.options)
    )
    start = weights_of(method, clip, found.views)
    method.load_learned_state(load_file(copl.with_suffix(".safetensors")))
    pixels = normalise(torch.from_numpy(np.stack([np.asarray(Image.open(path).convert("RGB")) for path in images])))
    with torch.no_grad():
        wanted = method.alignment(clip.encode_images(pixels, "projected")).numpy()
    assert found.weights.shape == (2, clip.patch_count, 4)
    assert np.array_equal(found.weights, wanted)
    assert not np.allclose(found.weights, start, atol=1e-4), "training moved them"


def test_a_panel_for_the_picture_and_each_token_shows_its_weights_on_one_scale(copl, images):
    found = alignment_of(load(copl), copl, images)
    figure = paint(found.views, found.weights, words=["a", "photo", "of", "a"], names=["one", "two"])
    panels = panels_of(figure)
    assert len(panels) == 10
    side = grid_side(found.weights.shape[1])
    for number, drawn in enumerate(panels):
        row, column = divmod(number, 5)
        assert (drawn is None) == (column == 0)
        if column:
            assert np.array_equal(drawn, found.weights[row, :, column - 1].reshape(side, side))
    scales = {axes.images[1].get_clim() for axes in figure.axes if len(axes.images) > 1}
    assert scales == {(float(found.weights.min()), float(found.weights.max()))}
    below = [axes.get_xlabel().split("\n")[0] for axes in figure.axes[:5]]
    assert below == ["picture", "“a”", "“photo”", "“of”", "“a”"]


def test_own_scale_runs_from_each_tokens_least_to_its_greatest():
    weights = np.stack([np.linspace(0.90, 0.98, 4), np.linspace(0.10, 0.02, 4)], axis=-1)[None]
    pictures = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    figure = paint(pictures, weights, words=["v1", "v2"], names=["x"], own_scale=True)
    assert [axes.images[1].get_clim() for axes in figure.axes[1:3]] == [(0.90, 0.98), (0.02, 0.10)]


def test_equal_weights_are_drawn_in_the_middle_of_the_scale():
    weights = np.full((1, 4, 4), 0.25) + np.random.default_rng(0).normal(0, 1e-9, (1, 4, 4))
    figure = paint(np.zeros((1, 8, 8, 3), dtype=np.uint8), weights, words=list("abcd"), names=["x"])
    assert figure.axes[1].images[1].get_clim() == pytest.approx((0, 0.5))


def test_same_run_and_pictures_give_the_same_svg(copl, images, tmp_path):
    paths = [tmp_path / f"{number}.svg" for number in range(2)]
    for path in paths:
        assert main(["--run", str(copl), "--images", str(images[0]), "--out", str(path)]) == 0
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert "“photo”".encode() in first
    assert b"not the paper" in first, "the suite's note"


def test_words_are_those_of_the_start_or_numbers(copl):
    spec = load(copl).spec
    assert token_words(spec, 4) == ["a", "photo", "of", "a"]
    random = dataclasses.replace(spec, options={**spec.options, "ctx_init": None})
    assert token_words(random, 3) == ["v1", "v2", "v3"]


def test_method_without_alignment_is_refused_and_those_with_it_are_named(folder, images, capsys):
    coop = next(p for p in folder.rglob("*.json") if "/coop/" in p.as_posix())
    assert main(["--run", str(coop), "--images", str(images[0])]) == 2
    assert "a method that has an alignment: copl." in capsys.readouterr().err


def test_run_with_one_patch_a_picture_is_refused(altered, images):
    path = altered(options={**altered_options(), "local": False})
    with pytest.raises(ConfigError, match=r"single patch \(local: false\)"):
        alignment_of(load(path), path, images)


def altered_options():
    """CoPL's options as its recipe has them."""
    from benchmark.plugins.factory import resolve_recipe

    return resolve_recipe("copl", template="a {}.").options


def test_missing_or_damaged_tensors_say_what_to_do(altered, images):
    path = altered(seed=7)
    path.with_suffix(".safetensors").write_bytes(b"not tensors")
    with pytest.raises(RecordError, match="cannot be read"):
        alignment_of(load(path), path, images)
    path.with_suffix(".safetensors").unlink()
    with pytest.raises(RecordError, match=r"is missing.*run the same command again"):
        alignment_of(load(path), path, images)


def test_tensors_of_another_shape_are_refused(altered, images):
    path = altered(options={**altered_options(), "n_ctx": 2, "ctx_init": None})
    with pytest.raises(ConfigError, match=r"'ctx' has shape \(4, "):
        alignment_of(load(path), path, images)


def test_another_checkpoint_than_the_runs_is_refused(altered, images):
    path = altered(checkpoint="f" * 16)
    with pytest.raises(RecordError, match=r"not what this run had.*ffffffffffffffff"):
        alignment_of(load(path), path, images)


def test_wrong_arguments_are_one_message(copl, images, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG nothing")
    for arguments, message in (
        (["--run", str(copl), "--images", str(broken)], "broken.png: cannot be decoded"),
        (["--run", str(copl), "--images", str(tmp_path / "no.png")], "no.png: is missing"),
        (["--run", str(tmp_path / "no.json"), "--images", str(images[0])], "no.json: cannot be read"),
        (["--run", str(copl), "--images", str(images[0]), "--out", "weights.gif"], "must end in .png or .svg"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err


def test_patches_that_are_no_square_grid_are_refused():
    assert grid_side(36) == 6
    with pytest.raises(ConfigError, match="50 patches are no square grid"):
        grid_side(50)


def test_file_lies_beside_the_record_unless_told_otherwise(altered, images):
    path = altered(seed=8)
    assert main(["--run", str(path), "--images", str(images[0])]) == 0
    assert Path(path.parent / f"{path.stem}-attention.png").is_file()
