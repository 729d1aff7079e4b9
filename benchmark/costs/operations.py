"""Count the floating-point operations of the towers from their sizes.

One multiplication and one addition are two operations. Norms, softmax and activations are left out, and what methods
learn beside the layers: they are a few in a thousand. Towers are frozen, so a backward pass only computes gradients of
inputs and costs as much as the forward pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.clip.trie import TextPlan


@dataclass(frozen=True)
class Tower:
    """The sizes of a transformer tower that decide its operations.

    Attributes:
        width, mlp, layers: T, width of the hidden layer of the MLP, number of layers.
        joint: D, width of the joint space.
        patch, image: pixels of a patch's side and of the image's; 0 for text.
    """

    width: int
    mlp: int
    layers: int
    joint: int
    patch: int = 0
    image: int = 0

    @classmethod
    def text(cls, config) -> "Tower":
        """The tower of a Hugging Face CLIP configuration."""
        text = config.text_config
        return cls(text.hidden_size, text.intermediate_size, text.num_hidden_layers, config.projection_dim)

    @classmethod
    def vision(cls, config) -> "Tower":
        """The tower of a Hugging Face CLIP configuration."""
        vision = config.vision_config
        return cls(
            vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers, config.projection_dim,
            vision.patch_size, vision.image_size,
        )  # fmt: skip

    @property
    def patches(self) -> int:
        """P, patches of an image."""
        return (self.image // self.patch) ** 2

    def layer(self, rows: int, pairs: int) -> int:
        """Operations of a layer on some rows; `pairs` counts the pairs of a row and a row that it attends to."""
        return rows * (8 * self.width**2 + 4 * self.width * self.mlp) + 4 * pairs * self.width

    def last_layer(self, rows: int, ends: int, pairs: int) -> int:
        """Operations of a layer of which only the end rows are used."""
        keys = 4 * rows * self.width**2
        return keys + ends * (4 * self.width**2 + 4 * self.width * self.mlp) + 4 * pairs * self.width


def text_layers(
    tower: Tower, plan: TextPlan, added: Sequence[int] = (), apart_from: int | None = None
) -> tuple[list[int], int]:
    """Operations of each layer in a forward pass of a plan for one context, and the rows of the last layer.

    Padding is left out. The last layer includes the projection.

    Args:
        added: of each layer, the rows that edits put into a sequence before it; empty: none.
        apart_from: the layer from which each class has rows of its own.
    """
    lengths = [1 + plan.n_ctx + length for length in plan.suffix_lengths]
    counts = []
    for i in range(tower.layers):
        more, sequences = added[i] if added else 0, 1
        rows, pairs, ends, end_pairs = 1 + plan.n_ctx + plan.nodes, plan.pairs, plan.ends, plan.end_pairs
        if apart_from is not None and i >= apart_from:
            sequences = ends = len(lengths)
            rows = end_pairs = sum(lengths)
            pairs = sum(length * (length + 1) // 2 for length in lengths)
        # rows put in see the start and those of them before; the rows after them see them all
        pairs, end_pairs = pairs + more * rows + sequences * more * (more + 1) // 2, end_pairs + more * ends
        rows += sequences * more
        last = i + 1 == tower.layers
        counts.append(tower.last_layer(rows, ends, end_pairs) if last else tower.layer(rows, pairs))
    counts[-1] += 2 * ends * tower.width * tower.joint
    return counts, rows


def text_operations(tower: Tower, plan: TextPlan) -> int:
    """Operations of a forward pass of a plan for one context: its trie, without padding."""
    return sum(text_layers(tower, plan)[0])


def image_layers(tower: Tower, first: int, added: Sequence[int], read: int) -> list[int]:
    """Operations of each layer from `first` on in a forward pass of one image; the last includes the projection.

    Args:
        added: as in text_layers, of the layers from `first` on.
        read: the number of rows that are read of the last layer.
    """
    counts = []
    for i, more in enumerate(added, start=first):
        rows = 1 + tower.patches + more
        last = i + 1 == tower.layers and read < rows
        counts.append(tower.last_layer(rows, read, read * rows) if last else tower.layer(rows, rows**2))
    counts[-1] += 2 * tower.width * tower.joint
    return counts


def rows_operations(tower: Tower, layer: int) -> int:
    """Operations to compute the rows of one image that enter a layer."""
    rows = 1 + tower.patches
    return 2 * tower.patches * 3 * tower.patch**2 * tower.width + layer * tower.layer(rows, rows**2)


def image_operations(tower: Tower, *, class_only: bool = False) -> int:
    """Operations of the image tower on one image, of which the patches are read or the pooled feature only."""
    read = 1 if class_only else 1 + tower.patches
    return rows_operations(tower, 0) + sum(image_layers(tower, 0, (0,) * tower.layers, read))
