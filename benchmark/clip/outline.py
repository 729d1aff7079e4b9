"""Build a CLIP of one narrow layer with random weights, on which a plan creates methods at no cost."""

from types import SimpleNamespace

import torch
from torch import nn

from benchmark.clip.config import ClipConfig, TextConfig

NARROW = 16  # width of an outline, where the real one does not matter


class Outline(nn.Module):
    """The parts of transformers.CLIPModel that Clip reads, without an image tower.

    transformers takes seconds to import, and a plan only needs the prompts, sizes and shapes of a CLIP.

    Args:
        narrow: False keeps the widths of the checkpoint, for learned values of their real shapes.
    """

    def __init__(self, config: ClipConfig, *, narrow: bool):
        super().__init__()
        text, vision = config.text_config, config.vision_config
        width = NARROW if narrow else text.hidden_size
        joint = NARROW if narrow else config.projection_dim
        self.config = SimpleNamespace(
            projection_dim=joint,
            text_config=SimpleNamespace(num_hidden_layers=text.num_hidden_layers),
            vision_config=SimpleNamespace(
                image_size=vision.image_size,
                patch_size=vision.patch_size,
                hidden_size=NARROW if narrow else vision.hidden_size,
                num_hidden_layers=vision.num_hidden_layers,
            ),
        )
        with torch.random.fork_rng(devices=[]):
            self.text_model = _text_tower(text, width)
            self.text_projection = nn.Linear(width, joint, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(0.0))


def _text_tower(config: TextConfig, width: int) -> nn.Module:
    """One layer under the names of transformers, with the tokens and positions of the checkpoint."""
    projections = {name: nn.Linear(width, width) for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
    mlp = {"fc1": nn.Linear(width, width), "fc2": nn.Linear(width, width)}
    layer = _module(
        layer_norm1=nn.LayerNorm(width),
        self_attn=_module(**projections, num_heads=1),
        layer_norm2=nn.LayerNorm(width),
        mlp=_module(**mlp, activation_fn=nn.GELU(), config=SimpleNamespace(hidden_act="gelu")),
    )
    return _module(
        embeddings=_module(
            token_embedding=_table(config.vocab_size, width),
            position_embedding=_table(config.max_position_embeddings, width),
        ),
        encoder=_module(layers=nn.ModuleList([layer])),
        final_layer_norm=nn.LayerNorm(width),
    )


def _table(rows: int, width: int) -> nn.Embedding:
    """One random row that stands for all: a large table would take memory and time."""
    return nn.Embedding(rows, width, _weight=torch.randn(width).expand(rows, width))


def _module(**parts: object) -> nn.Module:
    module = nn.Module()
    for name, part in parts.items():
        setattr(module, name, part)
    return module
