"""What a run computes, in steps, encodings, tokens and floating-point operations, known before it starts.

One multiplication and one addition are two operations. Norms, softmax and activations are left out: they are a few
in a thousand. Towers are frozen, so a backward pass only carries gradients to inputs and costs as much as the forward.
"""

from dataclasses import dataclass

from benchmark.clip.trie import TextPlan


@dataclass(frozen=True)
class Tower:
    """The sizes of one transformer tower that its operations follow from.

    Attributes:
        width, mlp, layers: T, width of the hidden layer of its MLP, number of layers.
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
        """Of a Hugging Face CLIP configuration."""
        text = config.text_config
        return cls(text.hidden_size, text.intermediate_size, text.num_hidden_layers, config.projection_dim)

    @classmethod
    def vision(cls, config) -> "Tower":
        """Of a Hugging Face CLIP configuration."""
        vision = config.vision_config
        return cls(
            vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers, config.projection_dim,
            vision.patch_size, vision.image_size,
        )  # fmt: skip

    def layer(self, rows: int, pairs: int) -> int:
        """Operations of a whole layer on some rows, `pairs` being how many (row, row it looks at) there are."""
        return rows * (8 * self.width**2 + 4 * self.width * self.mlp) + 4 * pairs * self.width

    def last_layer(self, rows: int, ends: int, pairs: int) -> int:
        """Operations of a layer that is only read at the end rows."""
        keys = 4 * rows * self.width**2
        return keys + ends * (4 * self.width**2 + 4 * self.width * self.mlp) + 4 * pairs * self.width


def text_operations(tower: Tower, plan: TextPlan) -> int:
    """Operations that a forward pass of a plan needs for one context: its trie, without any padding."""
    rows = 1 + plan.n_ctx + plan.nodes
    inner = (tower.layers - 1) * tower.layer(rows, plan.pairs)
    return inner + tower.last_layer(rows, plan.ends, plan.end_pairs) + 2 * plan.ends * tower.width * tower.joint


def plain_text_operations(tower: Tower, classes: int, length: int = 77) -> int:
    """Operations of the same forward pass as the authors compute it: every prompt in full."""
    inner = tower.layers * tower.layer(classes * length, classes * length**2)
    return inner + 2 * classes * tower.width * tower.joint


def image_operations(tower: Tower) -> int:
    """Operations of the image tower on one image."""
    patches = (tower.image // tower.patch) ** 2
    embedding = 2 * patches * 3 * tower.patch**2 * tower.width
    return embedding + tower.layers * tower.layer(1 + patches, (1 + patches) ** 2) + 2 * tower.width * tower.joint
