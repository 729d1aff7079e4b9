"""Modes and sample types that few programs write: the right 8-bit value, or a refusal; equal for check and reader."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from benchmark.data.headers import inspect_files
from benchmark.data.images import image_problem, open_image
from benchmark.data.modes import to_rgb
from benchmark.errors import DataError

COLOUR = (200, 120, 40)


def tiff(values):
    """An uncompressed greyscale TIFF of any type of sample, (H, W)."""
    height, width = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    size = len(values.tobytes())
    tags = [(256, width), (257, height), (258, 8 * values.itemsize), (259, 1), (262, 1), (273, 8), (277, 1),
            (278, height), (279, size), (339, kind)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", number, 4, 1, value) for number, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + size) + values.tobytes() + struct.pack("<H", len(tags)) + entries + bytes(4)


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def ycck(colour):
    """A JPEG in YCCK as Adobe writes it: luma and chroma of cyan, magenta and yellow, and inverted black."""
    cmy = tuple(255 - part for part in colour)
    luma = Image.new("RGB", (16, 16), cmy).convert("YCbCr").getpixel((0, 0))
    content = saved(Image.new("CMYK", (16, 16), tuple(255 - part for part in (*luma, 255))), "JPEG", quality=100)
    adobe = content.index(b"Adobe")
    assert content[adobe + 11] == 0  # Pillow writes CMYK without the transform
    return content[: adobe + 11] + b"\2" + content[adobe + 12 :]


def twelve_bits():
    content = bytearray(saved(Image.new("L", (16, 16), 99), "JPEG"))
    content[content.index(b"\xff\xc0") + 4] = 12
    return bytes(content)


RGB = Image.new("RGB", (16, 16), COLOUR)
COLOURS = {  # name: content, and how far a value may be off by the file's own rounding
    "ycbcr.tif": (saved(RGB.convert("YCbCr"), "TIFF"), 2),
    "ycck.jpg": (ycck(COLOUR), 3),
    "rgbx.tif": (saved(RGB.convert("RGBX"), "TIFF"), 0),
    "palette.tif": (saved(RGB.quantize(4), "TIFF"), 4),
}


@pytest.mark.parametrize("name", COLOURS)
def test_a_colour_is_read_as_itself(tmp_path, name):
    content, off = COLOURS[name]
    (tmp_path / name).write_bytes(content)
    assert image_problem(str(tmp_path / name)) is None
    assert np.abs(np.asarray(open_image(str(tmp_path / name))).astype(int) - COLOUR).max() <= off


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "PA", "RGBa", "La", "LA", "1", "LAB"])
def test_every_mode_of_pillow_gives_rgb(mode):
    through = {"PA": "P", "La": "LA", "RGBa": "RGBA", "LAB": None}.get(mode, "RGB")
    image = Image.new("LAB", (4, 4), (128, 128, 128)) if through is None else RGB.convert(through).convert(mode)
    converted = to_rgb(image)
    assert converted.mode == "RGB" and converted.size == image.size
    if mode in ("HSV", "YCbCr", "RGBa"):
        assert np.abs(np.asarray(converted).astype(int) - COLOUR).max() <= 4


@pytest.mark.parametrize("kind, white", [("<f8", 1), ("<f8", 255), ("<u4", 65535), ("<i2", 255), ("<f2", 1)])
def test_samples_of_other_types_are_scaled_or_refused(tmp_path, kind, white):
    path, eight = tmp_path / "samples.tif", np.arange(256).reshape(16, 16)
    path.write_bytes(tiff((eight * (white / 255)).astype(kind)))
    if problem := image_problem(str(path)):
        with pytest.raises(DataError, match=r"samples\.tif: .*save it as 8-bit RGB"):
            open_image(str(path))
    else:
        greys = np.asarray(open_image(str(path)))
        assert np.array_equal(greys, np.repeat(eight[..., None], 3, axis=2)), "wrong without a word"
    findings, _ = inspect_files(str(tmp_path), [path.name], deep=False, processes=1, advance=lambda count: None)
    assert [found.kind for found in findings if found.kind == "unreadable"] == ["unreadable"] * bool(problem)


def test_twelve_bits_of_a_jpeg_are_refused_by_check_and_reader(tmp_path):
    path = tmp_path / "medical.jpg"
    path.write_bytes(twelve_bits())
    assert "cannot be read as an image" in image_problem(str(path))
    with pytest.raises(DataError, match=r"medical\.jpg: cannot be decoded .* save it as 8-bit RGB"):
        open_image(str(path))
