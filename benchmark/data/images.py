"""Decode image files and cut the views that CLIP sees: the test view, and random train views from a generator."""

import hashlib
import math

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from benchmark.common.constants import CLIP_MEAN, CLIP_STD, CROP_RATIO, CROP_SCALE, FLIP_PROBABILITY
from benchmark.data.headers import JPEG_END, SAVE_AGAIN, check_pixels, check_written, open_header
from benchmark.data.modes import REMEDY, to_rgb
from benchmark.errors import DataError

VIEWS = 2  # version of the views: raise it whenever a view's pixels change, since cached features are named by it
CROP_TRIES = 10  # before a random resized crop falls back to the center; torchvision RandomResizedCrop


def open_image(path: str) -> Image.Image:
    """Decode an image to RGB, the first frame of an animation. Rotation tags are ignored, as the field does.

    Raises:
        DataError: the file is missing, damaged, of a format that is not in headers.FORMATS, has more pixels than
            Pillow's limit, or values that fit no known range.
    """
    try:
        with open_header(path) as image:
            check_written(image, image.fp)
            return to_rgb(image)
    except FileNotFoundError as error:
        raise DataError(f"{path}: is missing. Restore it, or run without this dataset.") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: is refused, it would decode to too many pixels ({error}).") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # Pillow raises many types for a damaged file
        raise DataError(
            f"{path}: cannot be decoded ({type(error).__name__}: {error}). Restore the file, or {REMEDY}."
        ) from error


def image_problem(path: str) -> str | None:
    """Return why an existing file is not a usable image, or None; a complete JPEG is not decoded for this."""
    try:
        check_image(path)
    except Image.DecompressionBombError as error:
        return f"has too many pixels ({error})"
    except DataError as error:
        return str(error)
    except UnidentifiedImageError:
        return f"cannot be read as an image; {SAVE_AGAIN}"
    except Exception as error:  # Pillow raises many types for a damaged file
        return f"cannot be read as an image ({type(error).__name__})"
    return None


def check_image(path: str) -> None:
    """Raise what open_image meets; a JPEG that ends with its end marker is not decoded."""
    with open(path, "rb") as content, open_header(content) as image:
        check_pixels(image, content, ends={"JPEG": JPEG_END})


def test_view(image: Image.Image, size: int) -> np.ndarray:
    """Return the view that is scored, (size, size, 3) uint8.

    Resize the shorter side to `size` and the longer one in proportion, truncated to an integer; then crop the center.
    The margin is rounded half to even, which for odd margins is one pixel off Hugging Face's processor.
    Source: torchvision Resize and CenterCrop, as in CoOp's test transform.
    """
    width, height = image.size
    if min(width, height) != size:
        if width <= height:
            width, height = size, int(size * height / width)
        else:
            width, height = int(size * width / height), size
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


test_view.__test__ = False  # keeps pytest from collecting it


def train_view(
    image: Image.Image, size: int, generator: torch.Generator, smallest: float = CROP_SCALE[0]
) -> np.ndarray:
    """Return a random resized crop, mirrored half of the time, (size, size, 3) uint8.

    The crop has `smallest` to all of the area of the image.
    The generator is used in torchvision's order, so equal seeds give torchvision's crops, up to its rounding.
    Source: torchvision RandomResizedCrop and RandomHorizontalFlip, as in CoOp's training transform.
    """
    return mirrored(random_part(image, size, generator, smallest), generator)


def random_part(image: Image.Image, size: int, generator: torch.Generator, smallest: float) -> Image.Image:
    """Return a random crop of an image, resized to (size, size)."""
    left, top, width, height = _random_crop(*image.size, generator, smallest)
    # not resize(box=...): that reads pixels outside the crop at its border
    return image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BICUBIC)


def mirrored(view: Image.Image, generator: torch.Generator) -> np.ndarray:
    """Return the pixels of a view, mirrored half of the time."""
    if torch.rand(1, generator=generator).item() < FLIP_PROBABILITY:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(view)


def _random_crop(width: int, height: int, generator: torch.Generator, smallest: float) -> tuple[int, int, int, int]:
    """Return left, top, width and height of a crop of random area and aspect ratio."""
    low, high = map(math.log, CROP_RATIO)
    for _ in range(CROP_TRIES):
        area = width * height * _uniform(smallest, CROP_SCALE[1], generator)
        ratio = math.exp(_uniform(low, high, generator))
        wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            top = torch.randint(0, height - tall + 1, size=(1,), generator=generator).item()
            left = torch.randint(0, width - wide + 1, size=(1,), generator=generator).item()
            return left, top, wide, tall
    ratio = width / height
    wide, tall = width, height
    if ratio < CROP_RATIO[0]:
        tall = round(width / CROP_RATIO[0])
    elif ratio > CROP_RATIO[1]:
        wide = round(height * CROP_RATIO[1])
    return (width - wide) // 2, (height - tall) // 2, wide, tall


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    """Draw from [low, high). In float64: the last digit of torch's own float32 depends on the processor."""
    return low + (high - low) * torch.rand(1, generator=generator).item()


def view_generator(seed: int, image_key: str, epoch: int) -> torch.Generator:
    """Return the generator of one train view, which depends on the seed, the image and the epoch only."""
    digest = hashlib.sha256(f"{seed} view {epoch} {image_key}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def normalise(
    pixels: Tensor,
    mean: tuple[float, ...] = CLIP_MEAN,
    std: tuple[float, ...] = CLIP_STD,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Convert (B, S, S, 3) uint8 to (B, 3, S, S) of `dtype`: subtract the mean, divide by the standard deviation."""
    values, shape = pixels.permute(0, 3, 1, 2).to(dtype), (1, 3, 1, 1)  # (B, 3, S, S)
    values /= 255  # in place, as the following: a batch takes 150 MB
    values -= values.new_tensor(mean).view(shape)
    values /= values.new_tensor(std).view(shape)
    return values
