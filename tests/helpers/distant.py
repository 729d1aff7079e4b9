"""Simulate a second device such as a GPU on the CPU.

Inside `distant_device()` a tensor moved to DEVICE keeps its values, no operation accepts tensors of both devices, and
every value that is read back is recorded, since reading it would wait for a GPU.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("meta")  # every build of torch can create tensors on it
ROOT = Path(__file__).resolve().parents[2]
aten = torch.ops.aten
READS = (aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default)  # return a Python value


class Distant(Tensor):
    """A tensor that reports DEVICE as its device; `near` holds its values."""

    @staticmethod
    def __new__(cls, near):
        layout = {"strides": near.stride(), "storage_offset": near.storage_offset()}
        made = Tensor._make_wrapper_subclass(cls, near.size(), dtype=near.dtype, device=DEVICE, **layout)
        made.near = near
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} of a distant tensor outside of distant_device()")


class Reads(list):
    """List the innermost (file, line) of benchmark/ at which each value was read back."""

    def note(self):
        own = [line for line in traceback.extract_stack() if line.filename.startswith(f"{ROOT}/benchmark")]
        self.append((Path(own[-1].filename).name, own[-1].lineno) if own else ("?", 0))

    def within(self, name):
        return [place for place in self if place[0] == name]


class _Operations(TorchDispatchMode):
    """Check the devices of each operation and compute it on the values."""

    def __init__(self, reads):
        super().__init__()
        self._reads = reads

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        far = [t for t in tensors if isinstance(t, Distant)]
        shapes = [tuple(t.shape) for t in tensors if not isinstance(t, Distant) and t.dim() > 0]
        device = kwargs.get("device")
        if far and shapes and func not in (aten._to_copy.default, aten.copy_.default):
            raise RuntimeError(f"{func} takes tensors of both devices: {shapes} are on the CPU")
        leaves = func is aten._to_copy.default and device is not None and torch.device(device) != DEVICE
        if far and (leaves or func in READS):
            self._reads.note()
        if device is not None:
            kwargs["device"] = "cpu"
        near_args, near_kwargs = tree_map_only(Distant, lambda t: t.near, (args, kwargs))
        result = func(*near_args, **near_kwargs)
        if func is aten.copy_.default:
            return args[0]
        if not far if device is None else torch.device(device) != DEVICE:
            return result
        known = {id(t.near): t for t in far}  # results of operations in place
        return tree_map_only(Tensor, lambda t: known[id(t)] if id(t) in known else Distant(t), result)


class _Functions(TorchFunctionMode):
    """Handle what is no operation: tensors created from Python values, and `tolist`."""

    def __init__(self, reads):
        super().__init__()
        self._reads = reads

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu") == DEVICE:
            return func(*args, **kwargs | {"device": "cpu"}).to(DEVICE)
        if func is Tensor.tolist and isinstance(args[0], Distant):
            self._reads.note()
            return args[0].near.tolist()
        return func(*args, **kwargs)


class _Autocast(torch.autocast):
    def __init__(self, device_type, *args, **named):
        super().__init__("cpu" if device_type == DEVICE.type else device_type, *args, **named)


@contextmanager
def distant_device() -> Iterator[Reads]:
    """Provide the second device; yields the list of reads, which grows."""
    reads, enabled = Reads(), torch.is_autocast_enabled
    with pytest.MonkeyPatch.context() as patch, _Operations(reads), _Functions(reads):
        patch.setattr(torch, "autocast", _Autocast)
        patch.setattr(torch, "is_autocast_enabled", lambda kind: enabled("cpu" if kind == DEVICE.type else kind))
        yield reads


class DistantAccelerator(Accelerator):
    """An Accelerator on the second device."""

    def __init__(self):
        super().__init__(cpu=True)

    device = property(lambda self: DEVICE)
