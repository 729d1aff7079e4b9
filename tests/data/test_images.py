"""Views: equal to torchvision's where the goldens have them, and sane for any picture."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.data.images import normalise, open_image, test_view, train_view, view_generator
from benchmark.errors import DataError


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "goldens" / "preprocess"
    return np.load(folder / "preprocess.npz"), json.loads((folder / "preprocess.json").read_text())


def picture(width=40, height=30, mode="RGB"):
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


@pytest.mark.golden
def test_test_view_equals_golden_at_224_pixels(golden):
    arrays, _ = golden
    for number in range(6):
        view = test_view(Image.fromarray(arrays[f"input{number}"]), 224)
        assert np.abs(view.astype(int) - arrays[f"test224_uint8_{number}"].astype(int)).max() <= 1


@pytest.mark.golden
def test_test_view_equals_golden_at_32_pixels_after_normalisation(golden):
    arrays, _ = golden
    for number in range(6):
        view = normalise(torch.from_numpy(test_view(Image.fromarray(arrays[f"input{number}"]), 32).copy())[None])[0]
        assert np.abs(view.numpy() - arrays[f"test32_{number}"]).max() <= 0.015


@pytest.mark.golden
def test_train_view_equals_golden_for_the_same_random_numbers(golden):
    arrays, _ = golden
    keys = [key for key in arrays.files if key.startswith("train32_")]
    assert len(keys) == 3
    for key in keys:
        number, seed = (int(part.removeprefix("seed")) for part in key.split("_")[1:])
        generator = torch.Generator().manual_seed(seed)
        view = train_view(Image.fromarray(arrays[f"input{number}"]), 32, generator)
        got = normalise(torch.from_numpy(view.copy())[None])[0]
        assert np.abs(got.numpy() - arrays[key]).max() <= 0.015


def test_train_view_depends_on_seed_image_and_epoch_alone():
    image = picture()
    views = {
        (seed, key, epoch): train_view(image, 16, view_generator(seed, key, epoch)).tobytes()
        for seed in (1, 2) for key in ("a.jpg", "b.jpg") for epoch in (0, 1)
    }  # fmt: skip
    assert len(set(views.values())) == len(views)
    torch.manual_seed(99)
    assert train_view(image, 16, view_generator(1, "a.jpg", 0)).tobytes() == views[1, "a.jpg", 0]


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (48, 48), (47, 48), (500, 20)])
def test_views_have_the_asked_size_for_any_picture(size):
    image = picture(*size)
    assert test_view(image, 16).shape == (16, 16, 3)
    for seed in range(5):
        assert train_view(image, 16, torch.Generator().manual_seed(seed)).shape == (16, 16, 3)


def test_picture_of_the_right_size_is_not_resampled():
    image = picture(48, 48)
    assert np.array_equal(test_view(image, 48), np.asarray(image))


@pytest.mark.parametrize("mode, suffix", [("L", "png"), ("CMYK", "jpg"), ("P", "png"), ("RGBA", "png"), ("1", "png")])
def test_other_colour_modes_become_rgb(tmp_path, mode, suffix):
    path = tmp_path / f"picture.{suffix}"
    picture(mode=mode).save(path)
    assert open_image(str(path)).mode == "RGB"


def test_sixteen_bit_greyscale_keeps_its_greys(tmp_path):
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16)[None].repeat(4, axis=0)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    greys = np.asarray(open_image(str(tmp_path / "ramp.png")))[0, :, 0]
    assert greys[0] == 0
    assert abs(int(greys[128]) - 128) <= 1
    assert greys[-1] == 255


def test_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert open_image(str(tmp_path / "moving.gif")).getpixel((0, 0))[0] > 200


def test_damaged_or_missing_file_is_named(tmp_path):
    buffer = io.BytesIO()
    picture(200, 200).save(buffer, format="JPEG")
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[:2000])
    (tmp_path / "text.jpg").write_text("no picture")
    for name, reason in (
        ("cut.jpg", "cannot be decoded"),
        ("text.jpg", "cannot be decoded"),
        ("none.jpg", "is missing"),
    ):
        with pytest.raises(DataError, match=f"{name}: {reason}"):
            open_image(str(tmp_path / name))


def test_decompression_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    picture().save(tmp_path / "bomb.png")
    with pytest.raises(DataError, match="too many pixels"):
        open_image(str(tmp_path / "bomb.png"))
