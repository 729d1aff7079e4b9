"""What a plan finds out about methods that learn inside the towers, before anything is computed."""

import pytest

from benchmark.clip.backbone import outline
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.errors import ConfigError, MethodError
from benchmark.planning.capability import Prober, probe
from benchmark.plugins.discovery import add_plugin
from tests.common.test_config import make_spec

EDITED = """
from benchmark.clip.layer import Edits
from benchmark.method import NoOptions
from benchmark.towers import TowerMethod
from torch import nn
import torch

class Edited(TowerMethod):
    needs_patches = 1

    def __init__(self, clip, options, class_names, template):
        super().__init__(clip, options)
        self.value = nn.Parameter(torch.zeros(1))
        self.set_classes(class_names, template)

    def image_edits(self):
        return Edits(EDIT)
"""
FAULTS = {
    "enter={9: lambda x: x}": "`enter` edits layer 9, but only layers 1 to 3 can be edited here",
    "enter={0: lambda x: x}": "`enter` edits layer 0, but only layers 1 to 3 can be edited here",
    "enter={2: lambda x: x[:, 1:]}": r"`enter` of layer 2 returned \(2, 36, 16\), not \(2, 37 or more, 16\)",
    "beside={3: lambda x, normed: x[..., 1:]}": r"`beside` of layer 3 returned \(2, 37, 15\), not \(2, 37, 16\)",
}


def spec_of(name, **options):
    return make_spec(method=name, options=options)


def probed(name, **options):
    """An instance of a method on an outline of the embedded CLIP."""
    return probe(outline(CHECKPOINT)[0], spec_of(name, **options), [("a {}.", "cat")])


@pytest.mark.parametrize("edit", FAULTS)
def test_wrong_edit_is_found_with_its_place_before_anything_runs(edit, plugin):
    name = add_plugin(plugin("edited", EDITED.replace("EDIT)", f"{edit})"), "defaults: {epochs: 1, batch_size: 4}"))
    with pytest.raises(MethodError, match=rf"edited.py:17: {FAULTS[edit]}"):
        probed(name)


def test_layer_beyond_the_tower_is_refused_unless_the_backbone_is_not_known():
    with pytest.raises(ConfigError, match="depth is 9, but the layers of the text tower"):
        probed("maple", n_ctx=2, ctx_init="a photo of a", depth=9)
    unknown = Prober(None)
    assert probe(unknown._clip, spec_of("maple", n_ctx=2, ctx_init="a photo of a", depth=9), [("a {}.", "cat")])
