"""Count the floating-point operations of the towers from their sizes.

One multiplication and one addition are two operations. Norms, softmax and activations are left out: they are a few in a
thousand. Towers are frozen, so a backward pass only computes gradients of inputs and costs as much as the forward pass.
"""

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

    def layer(self, rows: int, pairs: int) -> int:
        """Operations of a layer on some rows; `pairs` counts the pairs of a row and a row that it attends to."""
        return rows * (8 * self.width**2 + 4 * self.width * self.mlp) + 4 * pairs * self.width

    def last_layer(self, rows: int, ends: int, pairs: int) -> int:
        """Operations of a layer of which only the end rows are used."""
        keys = 4 * rows * self.width**2
        return keys + ends * (4 * self.width**2 + 4 * self.width * self.mlp) + 4 * pairs * self.width


def text_operations(tower: Tower, plan: TextPlan) -> int:
    """Operations of a forward pass of a plan for one context: its trie, without padding."""
    rows = 1 + plan.n_ctx + plan.nodes
    inner = (tower.layers - 1) * tower.layer(rows, plan.pairs)
    return inner + tower.last_layer(rows, plan.ends, plan.end_pairs) + 2 * plan.ends * tower.width * tower.joint


def image_operations(tower: Tower, *, class_only: bool = False) -> int:
    """Operations of the image tower on one image, of which the patches are read or the pooled feature only."""
    patches = (tower.image // tower.patch) ** 2
    rows = 1 + patches
    last = tower.last_layer(rows, 1, rows) if class_only else tower.layer(rows, rows**2)
    layers = (tower.layers - 1) * tower.layer(rows, rows**2) + last
    embedding = 2 * patches * 3 * tower.patch**2 * tower.width
    return embedding + layers + 2 * tower.width * tower.joint
