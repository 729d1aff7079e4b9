"""Check shapes, written with the letters that all docstrings of the project use.

B  images of a batch          C  classes               D  joint embedding width (512 for ViT-B/16)
T  text transformer width     L  tokens, at most 77    M  learned context tokens
P  image patches (196)        K  shots                 V  vision transformer width (768 for ViT-B/16)
N  nodes of a token trie      G  groups of a text plan
"""

from benchmark.errors import ShapeError


def check_shape(name: str, shape: tuple[int, ...], letters: str, **sizes: int) -> None:
    """Refuse a tensor whose shape does not match `letters`, e.g. check_shape("context", x.shape, "BMT", M=4, T=512).

    Raises:
        ShapeError: another number of axes, or an axis named in `sizes` of another length.
    """
    wanted = ", ".join(f"{letter}={sizes[letter]}" if letter in sizes else letter for letter in letters)
    fits = len(shape) == len(letters) and all(
        letter not in sizes or size == sizes[letter] for size, letter in zip(shape, letters, strict=True)
    )
    if not fits:
        raise ShapeError(f"{name} has shape {tuple(shape)}, but ({wanted}) is needed (letters: common/shapes.py).")
