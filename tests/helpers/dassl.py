"""Write checkpoints in the format of CoOp's toolbox (Dassl), so that tests need none of the authors' files."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from benchmark.clip.backbone import Clip

TEXT_LENGTH = 77


class _ConstantWarmup(LRScheduler):
    """As in the toolbox: `state_dict()` holds the next schedule as an object, and with it the optimizer."""

    def __init__(self, optimizer, successor):
        self.successor, self.warmup_epoch, self.cons_lr = successor, 1, 1e-5
        super().__init__(optimizer)

    def get_lr(self):
        return [self.cons_lr for _ in self.base_lrs]


def save_checkpoint(
    path: Path, learned: Mapping[str, Tensor], clip: Clip, *, classes: int, prefix="", dtype=torch.float16, **more
) -> Path:
    """Write a file such as `prompt_learner/model.pth.tar-50`.

    Args:
        learned: tensors by name, as from `Method.learned_state`.
        classes: number of classes of the training.
        prefix: put before every key, e.g. "module.prompt_learner.".
        more: other entries of the file, which replace those of the same name.
    """
    n_ctx, width = learned["ctx"].shape[-2:]
    start = clip.text.embed(torch.tensor([clip.text.start_id]))
    suffix = torch.randn(classes, TEXT_LENGTH - 1 - n_ctx, width)
    tensors = {**learned, "token_prefix": start.expand(classes, 1, width), "token_suffix": suffix}
    parameter = torch.nn.Parameter(learned["ctx"].clone())
    optimizer = torch.optim.SGD([parameter], lr=0.002, momentum=0.9)
    scheduler = _ConstantWarmup(optimizer, CosineAnnealingLR(optimizer, 50.0))
    parameter.sum().backward()
    optimizer.step()
    content = {
        "state_dict": OrderedDict((prefix + name, tensor.to(dtype).clone()) for name, tensor in tensors.items()),
        "epoch": 50,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "val_result": np.float64(81.5),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content | more, path)
    return path


def whole_model(method: str, learned: Mapping[str, Tensor], clip: Clip) -> dict[str, Tensor]:
    """The state of the authors' whole model of MaPLe, PromptSRC or MMRL: learned tensors by their names, and CLIP's."""
    learner = "representation_learner." if method == "mmrl" else "prompt_learner."
    towers = {"text_prompts": "text_encoder", "vision_prompts": "image_encoder"}
    state = {"text_encoder.positional_embedding": clip.text.positions.detach(), "logit_scale": clip.logit_scale.log()}
    for name, tensor in learned.items():
        start, _, layer = name.partition(".")
        if start in towers:
            place = "VPT" if name == "vision_prompts.0" else f"transformer.resblocks.{layer}.VPT_shallow"
            state[f"{towers[start]}.{place}"] = tensor
        else:
            state[f"image_encoder.{name}" if name == "proj_rep" else learner + name] = tensor
    return state
