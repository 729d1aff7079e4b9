"""Checkpoints as CoOp's toolbox (Dassl) saves them, so that tests need none of the authors' files."""

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
    """As the toolbox's: the schedule that follows is an attribute, and with it its optimiser, in `state_dict()`."""

    def __init__(self, optimizer, successor):
        self.successor, self.warmup_epoch, self.cons_lr = successor, 1, 1e-5
        super().__init__(optimizer)

    def get_lr(self):
        return [self.cons_lr for _ in self.base_lrs]


def save_checkpoint(
    path: Path,
    learned: Mapping[str, Tensor],
    clip: Clip,
    *,
    classes: int,
    prefix: str = "",
    dtype=torch.float16,
    **more,
) -> Path:
    """A file such as `prompt_learner/model.pth.tar-50`.

    Args:
        learned: by name, as `Method.learned_state` gives them.
        classes: that it was trained on.
        prefix: before every key, e.g. "module.prompt_learner.".
        more: what else the file holds, or holds instead.
    """
    n_ctx, width = learned["ctx"].shape[-2:]
    start = clip.text.embed(torch.tensor([clip.text.start_id]))
    fixed = {
        "token_prefix": start.expand(classes, 1, width),
        "token_suffix": torch.randn(classes, TEXT_LENGTH - 1 - n_ctx, width),
    }
    state = OrderedDict((prefix + name, t.to(dtype).clone()) for name, t in {**learned, **fixed}.items())
    parameter = torch.nn.Parameter(learned["ctx"].clone())
    optimizer = torch.optim.SGD([parameter], lr=0.002, momentum=0.9)
    scheduler = _ConstantWarmup(optimizer, CosineAnnealingLR(optimizer, 50.0))
    parameter.sum().backward()
    optimizer.step()
    whole = {
        "state_dict": state,
        "epoch": 50,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "val_result": np.float64(81.5),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(whole | more, path)
    return path
