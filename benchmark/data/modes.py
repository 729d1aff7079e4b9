"""Convert images to 8-bit RGB as Pillow's convert("RGB") does, except where it would clip; docs/data.md has the rules.

Imports no torch: processes that check a million files start quickly.
"""

from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image

from benchmark.errors import DataError

BITS, PHOTOMETRIC, SAMPLES = 258, 262, 339  # TIFF tags: bits of a sample, meaning of 0, type of a sample
WHITE_IS_0, SIGNED = 0, 2  # their values
SIXTEEN = (255, 65535)
TOPS = {"F": (1, 255), "I": SIXTEEN} | dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), SIXTEEN)  # white, by mode
DARKEST = 1 / 16  # of white: below it, values are more likely of another range (12 bits in 16) than a dark picture
REMEDY = "save it as 8-bit RGB"


def to_rgb(image: Image.Image) -> Image.Image:
    """Decode the current frame to 8-bit RGB.

    Raises:
        DataError: its values fit no known range; the message lacks the file's name.
    """
    if image.mode in TOPS:
        return _scaled(image).convert("RGB")
    if image.mode == "L" and _tag(image, SAMPLES) == SIGNED:
        raise DataError(f"holds signed 8-bit values; {REMEDY}.")
    if image.mode == "La":  # of which Pillow has no conversion to RGB
        image = image.convert("LA")
    return image.convert("RGB")


def _scaled(image: Image.Image) -> Image.Image:
    """Scale to 8-bit greyscale: a stated range, else the first one of the mode that holds all values."""
    stated, inverted = _stated_top(image), _tag(image, PHOTOMETRIC) == WHITE_IS_0
    values = np.asarray(image).astype(np.float64)
    low, high = values.min(), values.max()
    narrow, wide = TOPS[image.mode]
    top = stated or (narrow if high <= narrow else wide)
    if not (low >= 0 and high <= top):  # also refuses NaN
        raise DataError(f"holds values from {low:g} to {high:g}, but black is 0 and white {top}; {REMEDY}.")
    eight_bits = top == 255 and narrow == 255  # dark, but with the grey levels of an 8-bit file
    if not (stated or eight_bits) and 0 < high < top * DARKEST:
        raise DataError(f"holds values up to {high:g}, but white is {narrow} or {wide}; scale them, or {REMEDY}.")
    greys = values * 255 / top
    greys = np.rint(greys) if top == 1 else greys  # Pillow truncates floats and 16 bits; k / 255 must give k
    return Image.fromarray((255 - greys if inverted else greys).astype(np.uint8))


def _stated_top(image: Image.Image) -> int | None:
    """White as the file states it: Pillow scales a PGM to 16 bits; 12 bits of a TIFF are no guess."""
    if image.format == "PPM" and image.mode == "I":
        return 65535
    return 4095 if _tag(image, BITS) == 12 else None


def _tag(image: Image.Image, number: int) -> int | None:
    """The first value of a tag of a TIFF; None if it is absent, or the file no TIFF."""
    value = image.tag_v2.get(number) if image.format == "TIFF" else None
    return value[0] if isinstance(value, tuple) else value


def peculiarities(image: Image.Image) -> Iterator[str]:
    """Yield what is ignored or changed when an opened image is read, for the doctor; may move to another frame."""
    if image.mode in TOPS:
        yield "not 8 bits, scaled to 8"
    readable = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)  # else a PNG is decoded
    if readable and image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        yield "rotation tag, ignored"
    if image.has_transparency_data:
        yield "transparency, ignored"
    try:
        several = getattr(image, "is_animated", False)
    except Exception:  # of a damaged second frame, which is not read
        several = True
    if several:
        yield "several frames, the first is read"
