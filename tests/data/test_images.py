"""Views: equal to torchvision's where the goldens have them, and sane for any picture."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image, ImageFile

from benchmark.data import images
from benchmark.data.headers import KINDS
from benchmark.data.images import check_image, normalise, open_image, test_view, train_view, view_generator
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


def colours():
    """Pictures of every colour mode and kind that a dataset may hold: file name to (picture, options of save)."""
    grey = np.asarray(picture(mode="L"))
    rotated = Image.Exif()
    rotated[0x0112] = 6  # orientation: a quarter turn
    frames = {"save_all": True, "append_images": [picture().rotate(180)]}
    return {
        "rgb.jpg": (picture(), {}),
        "grey.jpg": (picture(mode="L"), {}),
        "cmyk.jpg": (picture(mode="CMYK"), {}),
        "rotated.jpg": (picture(), {"exif": rotated}),
        "two.jpg": (picture(), {"format": "MPO", **frames}),
        "grey.png": (picture(mode="L"), {}),
        "grey_alpha.png": (picture(mode="LA"), {}),
        "alpha.png": (picture(mode="RGBA"), {}),
        "palette.png": (picture(mode="P"), {}),
        "palette_clear.png": (picture(mode="P"), {"transparency": 3}),
        "palette_alpha.png": (picture(mode="P"), {"transparency": bytes(range(256))}),
        "bits.png": (picture(mode="1"), {}),
        "dark16.png": (Image.fromarray(grey.astype(np.uint16)), {}),  # nothing above 255
        "cmyk.tif": (picture(mode="CMYK"), {}),
        "moving.gif": (picture(), frames),
        "moving.webp": (picture(), {"lossless": True, **frames}),
        "moving.png": (picture(), frames),
        "pages.tif": (picture(), frames),
        "plain.bmp": (picture(), {}),
        "plain.ppm": (picture(), {}),
    }


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("name", colours())
def test_picture_is_what_the_fields_conversion_gives_in_every_call(tmp_path, name):
    image, options = colours()[name]
    image.save(tmp_path / name, **options)
    check_image(str(tmp_path / name))
    with Image.open(tmp_path / name) as opened:
        wanted = np.asarray(opened.convert("RGB"))
    for _ in range(2):
        got = open_image(str(tmp_path / name))
        assert got.mode == "RGB"
        assert np.array_equal(np.asarray(got), wanted)


def test_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert open_image(str(tmp_path / "moving.gif")).getpixel((0, 0))[0] > 200


@pytest.mark.parametrize(
    "name, kind", [("ramp.png", "<u2"), ("ramp.tif", "<u2"), ("big.tif", ">u2"), ("32.tif", "<i4")]
)
def test_greyscale_of_more_than_8_bits_keeps_its_greys(tmp_path, name, kind):
    eight = np.arange(256).reshape(16, 16)
    Image.fromarray((eight * 257).astype(kind)).save(tmp_path / name)
    check_image(str(tmp_path / name))
    greys = np.asarray(open_image(str(tmp_path / name)))
    assert np.array_equal(greys, np.repeat(eight[..., None], 3, axis=2)), "Pillow alone would clip them to white"


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*, size=None, before=b"", behind=b""):
    """A PNG file, perhaps with another size in its header, and with chunks before and behind its pixels."""
    buffer = io.BytesIO()
    picture().save(buffer, format="PNG")
    whole = buffer.getvalue()
    header = whole[8:33] if size is None else chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    return whole[:8] + header + before + whole[33:-12] + behind + whole[-12:]


def encoded(kind, *, keep=1.0):
    """A picture as a file of some kind, or the beginning of one."""
    buffer = io.BytesIO()
    picture(200, 200).save(buffer, format=kind)
    return buffer.getvalue()[: int(keep * len(buffer.getvalue()))]


BLOWN_UP = zlib.compress(bytes(8 << 20))  # of what a text or a profile may be, Pillow unpacks 1 MiB
PROGRAM = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
DAMAGED = {
    **{f"cut.{kind.lower()}": encoded(kind, keep=0.6) for kind in KINDS},
    "ends_like_a_jpeg.bmp": encoded("BMP", keep=0.6) + b"\xff\xd9",
    "empty.jpg": b"",
    "text.jpg": b"no picture",
    "noise.jpg": bytes(range(256)) * 20,
    "program.jpg": PROGRAM,
    "text_before.png": png(before=chunk(b"zTXt", b"k\0\0" + BLOWN_UP)),
    "text_behind.png": png(behind=chunk(b"zTXt", b"k\0\0" + BLOWN_UP)),
    "words_behind.png": png(behind=chunk(b"iTXt", b"k\0\1\0\0\0" + BLOWN_UP)),
    "profile.png": png(before=chunk(b"iCCP", b"k\0\0" + BLOWN_UP)),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_picture_is_refused_by_the_check_and_by_the_decoder(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(DAMAGED[name])
    with pytest.raises(Exception):
        check_image(str(path))
    with pytest.raises(DataError, match=f"{name}: cannot be decoded"):
        open_image(str(path))


def test_picture_that_is_a_program_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: Image.new("RGB", (9, 9)).im)
    (tmp_path / "program.jpg").write_bytes(PROGRAM)
    with Image.open(tmp_path / "program.jpg") as image:
        assert image.convert("RGB").size == (9, 9), "left alone, Pillow runs it"
    with pytest.raises(DataError, match="cannot identify image file"):
        open_image(str(tmp_path / "program.jpg"))


def test_picture_with_something_behind_its_end_is_whole(tmp_path):
    (tmp_path / "more.jpg").write_bytes(encoded("JPEG") + b"more" * 50)
    check_image(str(tmp_path / "more.jpg"))
    assert open_image(str(tmp_path / "more.jpg")).size == (200, 200)


def test_whole_jpeg_is_checked_without_being_decoded(tmp_path, monkeypatch):
    (tmp_path / "whole.jpg").write_bytes(encoded("JPEG"))
    monkeypatch.setattr(images, "_to_rgb", None)
    check_image(str(tmp_path / "whole.jpg"))


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


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(9_460, 9_460), (60_000, 60_000)])  # beyond the bound, and beyond twice the bound
def test_decompression_bomb_is_refused_by_its_header(tmp_path, monkeypatch, size):
    (tmp_path / "bomb.png").write_bytes(png(size=size))
    monkeypatch.setattr(Image.Image, "convert", None)
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    with pytest.raises(DataError, match="too many pixels"):
        open_image(str(tmp_path / "bomb.png"))
    with pytest.raises(Image.DecompressionBombError):
        check_image(str(tmp_path / "bomb.png"))


def test_largest_picture_within_the_bound_is_taken(tmp_path, monkeypatch):
    picture().save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1200)
    assert open_image(str(tmp_path / "large.png")).size == (40, 30)
