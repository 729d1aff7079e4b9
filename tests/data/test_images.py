"""Image files and views: equal to torchvision's where the goldens have them, and hostile files refused."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image, ImageFile

from benchmark.data.headers import FORMATS, inspect_files
from benchmark.data.images import (
    _random_crop,
    check_image,
    image_problem,
    normalise,
    open_image,
    test_view,
    train_view,
    view_generator,
)
from benchmark.errors import DataError


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "goldens" / "preprocess" / "preprocess.npz")


def image_of(width=40, height=30, mode="RGB"):
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def normalised(view):
    return normalise(torch.from_numpy(view.copy())[None])[0].numpy()


@pytest.mark.golden
def test_test_view_equals_golden(golden):
    for number in range(6):
        image = Image.fromarray(golden[f"input{number}"])
        assert np.abs(test_view(image, 224).astype(int) - golden[f"test224_uint8_{number}"].astype(int)).max() <= 1
        assert np.abs(normalised(test_view(image, 32)) - golden[f"test32_{number}"]).max() <= 0.015


@pytest.mark.golden
def test_train_view_equals_golden_for_the_same_random_numbers(golden):
    keys = [key for key in golden.files if key.startswith("train32_")]
    assert len(keys) == 3
    for key in keys:
        number, seed = (int(part.removeprefix("seed")) for part in key.split("_")[1:])
        view = train_view(Image.fromarray(golden[f"input{number}"]), 32, torch.Generator().manual_seed(seed))
        assert np.abs(normalised(view) - golden[key]).max() <= 0.015


def test_train_view_depends_on_seed_image_and_epoch_only():
    image = image_of()
    views = {
        (seed, key, epoch): train_view(image, 16, view_generator(seed, key, epoch)).tobytes()
        for seed in (1, 2) for key in ("a.jpg", "b.jpg") for epoch in (0, 1)
    }  # fmt: skip
    assert len(set(views.values())) == len(views)
    torch.manual_seed(99)
    assert train_view(image, 16, view_generator(1, "a.jpg", 0)).tobytes() == views[1, "a.jpg", 0]


def test_smallest_crop_bounds_the_area_and_changes_nothing_else():
    image, shown = image_of(64, 48), {}
    for smallest in (0.08, 0.5):
        crops = [_random_crop(*image.size, torch.Generator().manual_seed(seed), smallest) for seed in range(200)]
        shown[smallest] = [width * height / (64 * 48) for _, _, width, height in crops]
    assert min(shown[0.08]) < 0.2 and min(shown[0.5]) > 0.48, "sides are rounded to pixels"
    assert max(shown[0.5]) > 0.9
    generators = [torch.Generator().manual_seed(7) for _ in range(2)]
    plain, named = train_view(image, 16, generators[0]), train_view(image, 16, generators[1], 0.08)
    assert np.array_equal(plain, named)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (16, 16), (15, 16), (500, 20)])
def test_views_have_the_requested_size_and_are_not_resampled_needlessly(size):
    image = image_of(*size)
    view = test_view(image, 16)
    assert view.shape == (16, 16, 3)
    assert size != (16, 16) or np.array_equal(view, np.asarray(image))
    for seed in range(5):
        assert train_view(image, 16, torch.Generator().manual_seed(seed)).shape == (16, 16, 3)


def files():
    """File name to (image, options of save) for every mode and format that a dataset may contain."""
    grey = np.asarray(image_of(mode="L"))
    rotated = Image.Exif()
    rotated[0x0112] = 6  # orientation: a quarter turn
    frames = {"save_all": True, "append_images": [image_of().rotate(180)]}
    return {
        "rgb.jpg": (image_of(), {}),
        "cmyk.jpg": (image_of(mode="CMYK"), {}),
        "rotated.jpg": (image_of(), {"exif": rotated}),
        "palette_alpha.png": (image_of(mode="P"), {"transparency": bytes(range(256))}),
        "bits.png": (image_of(mode="1"), {}),
        "dark16.png": (Image.fromarray(grey.astype(np.uint16)), {}),  # no value above 255
        "moving.gif": (image_of(), frames),
    }


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("name", files())
def test_image_is_decoded_as_the_field_does(tmp_path, name):
    image, options = files()[name]
    image.save(tmp_path / name, **options)
    check_image(str(tmp_path / name))
    with Image.open(tmp_path / name) as opened:
        wanted = np.asarray(opened.convert("RGB"))  # of the first frame
    assert np.array_equal(np.asarray(open_image(str(tmp_path / name))), wanted)


@pytest.mark.parametrize(
    "name, kind, white",
    [("ramp.png", "<u2", 65535), ("ramp.tif", "<u2", 65535), ("big.tif", ">u2", 65535), ("32.tif", "<i4", 65535),
     ("unit.tif", "<f4", 1), ("float.tif", "<f4", 255)],
)  # fmt: skip
def test_greyscale_of_more_than_8_bits_keeps_its_grey_levels(tmp_path, name, kind, white):
    eight = np.arange(256).reshape(16, 16)
    Image.fromarray((eight * (white / 255)).astype(kind)).save(tmp_path / name)
    check_image(str(tmp_path / name))
    greys = np.asarray(open_image(str(tmp_path / name)))
    assert np.array_equal(greys, np.repeat(eight[..., None], 3, axis=2)), "Pillow alone would clip them to white"


@pytest.mark.parametrize(
    "values, words",
    [
        (np.linspace(-1, 1, 256, dtype=np.float32), "from -1 to 1"),
        (np.linspace(0, 65535, 256, dtype=np.float32), "white 255"),
        (np.full(256, np.nan, np.float32), "from nan"),
        (np.linspace(0, 2**30, 256).astype(np.int32), "white 65535"),
        (np.linspace(0, 4000, 256).astype(np.uint16), "up to 4000, but white is 255 or 65535"),
        (np.linspace(0, 0.001, 256, dtype=np.float32), "up to 0.001, but white is 1 or 255"),
    ],
)
def test_values_of_no_known_range_are_refused_with_the_range(tmp_path, values, words):
    path = tmp_path / "odd.tif"
    Image.fromarray(values.reshape(16, 16)).save(path)
    with pytest.raises(DataError, match=f"odd.tif: holds values .*{words}.*save it as 8-bit RGB"):
        open_image(str(path))
    findings, _ = inspect_files(str(tmp_path), [path.name], deep=False, processes=1, advance=lambda count: None)
    assert image_problem(str(path)).removesuffix(".") in [
        found.text for found in findings if found.kind == "unreadable"
    ]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*, size=None, before=b"", after=b""):
    """A PNG file, with another size in its header or with chunks before or after its pixels."""
    whole = encoded("PNG")
    header = whole[8:33] if size is None else chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    return whole[:8] + header + before + whole[33:-12] + after + whole[-12:]


def encoded(kind, *, keep=1.0):
    """An image file of a format, or its beginning."""
    buffer = io.BytesIO()
    image_of(100, 100).save(buffer, format=kind)
    return buffer.getvalue()[: int(keep * len(buffer.getvalue()))]


BLOWN_UP = zlib.compress(bytes(8 << 20))  # Pillow decompresses at most 1 MiB of a text or a profile
PROGRAM = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
DAMAGED = {
    **{f"cut.{kind.lower()}": encoded(kind, keep=0.6) for kind in FORMATS},
    "ends_like_a_jpeg.bmp": encoded("BMP", keep=0.6) + b"\xff\xd9",
    "text.jpg": b"not an image",
    "program.jpg": PROGRAM,
    "text_after.png": png(after=chunk(b"iTXt", b"k\0\1\0\0\0" + BLOWN_UP)),
    "profile.png": png(before=chunk(b"iCCP", b"k\0\0" + BLOWN_UP)),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_image_is_refused_by_the_check_and_by_the_decoder(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(DAMAGED[name])
    with pytest.raises(Exception):
        check_image(str(path))
    with pytest.raises(DataError, match=f"{name}: cannot be decoded"):
        open_image(str(path))
    path.unlink()
    with pytest.raises(DataError, match=f"{name}: is missing"):
        open_image(str(path))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(9_460, 9_460), (60_000, 60_000)])  # above the limit, and above twice the limit
def test_decompression_bomb_is_refused_by_its_header(tmp_path, monkeypatch, size):
    (tmp_path / "bomb.png").write_bytes(png(size=size))
    monkeypatch.setattr(Image.Image, "convert", None)
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    with pytest.raises(DataError, match="too many pixels"):
        open_image(str(tmp_path / "bomb.png"))
    with pytest.raises(Image.DecompressionBombError):
        check_image(str(tmp_path / "bomb.png"))


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_jpeg_whose_end_was_never_written_is_refused_by_all_readers(kind, tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    stream, preview = io.BytesIO(), io.BytesIO()
    noise.resize((16, 16)).save(preview, "JPEG")
    noise.save(stream, kind, comment=preview.getvalue())  # with an end marker in the header
    path, whole = tmp_path / "a.jpg", stream.getvalue()
    path.write_bytes(whole + bytes(4096))  # after the end marker zeros are padding
    assert image_problem(str(path)) is None
    assert open_image(str(path)).size == (64, 64)
    half = len(whole) // 2
    path.write_bytes(whole[:half] + bytes(len(whole) - half))
    wanted = "its last part is zeros: it was not written completely"
    assert wanted in image_problem(str(path))
    with pytest.raises(DataError, match=wanted):
        open_image(str(path))
    for deep in (False, True):
        [finding], _ = inspect_files(str(tmp_path), ["a.jpg"], deep=deep, processes=1, advance=lambda count: None)
        assert finding.kind == "unreadable" and wanted in finding.text


def test_program_of_postscript_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: Image.new("RGB", (9, 9)).im)
    (tmp_path / "program.jpg").write_bytes(PROGRAM)
    with Image.open(tmp_path / "program.jpg") as image:
        assert image.convert("RGB").size == (9, 9), "Pillow alone executes it"
    with pytest.raises(DataError, match="cannot identify image file"):
        open_image(str(tmp_path / "program.jpg"))
