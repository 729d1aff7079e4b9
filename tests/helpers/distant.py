"""A stand-in for a GPU: tensors that say they are on another device, computed on this one by the other's rules.

Under `distant_device()` whatever is put on DEVICE keeps its values, but no operation takes tensors of both devices, as
on a GPU, and each value that is read back is noted, since a GPU would have to be waited for.
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

DEVICE = torch.device("meta")  # the only one that every build of torch lets tensors be made on
ROOT = Path(__file__).resolve().parents[2]
aten = torch.ops.aten
READS = (aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default)  # whose result is a Python value


class Distant(Tensor):
    """A tensor that says it is on DEVICE; `near` holds its values."""

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
    """Where values were read back: (file, line) of the project's own innermost line."""

    def note(self):
        own = [line for line in traceback.extract_stack() if line.filename.startswith(f"{ROOT}/benchmark")]
        self.append((Path(own[-1].filename).name, own[-1].lineno) if own else ("?", 0))

    def within(self, name):
        return [place for place in self if place[0] == name]


class _Operations(TorchDispatchMode):
    """Each operation on the values, after a look at its devices."""

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
        known = {id(t.near): t for t in far}  # what an operation in place gives back
        return tree_map_only(Tensor, lambda t: known[id(t)] if id(t) in known else Distant(t), result)


class _Functions(TorchFunctionMode):
    """What does not come by as an operation: tensors made of Python's values, and lists made of tensors."""

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
    """Have a second device for a while; yields the reads, as they come."""
    reads, enabled = Reads(), torch.is_autocast_enabled
    with pytest.MonkeyPatch.context() as patch, _Operations(reads), _Functions(reads):
        patch.setattr(torch, "autocast", _Autocast)
        patch.setattr(torch, "is_autocast_enabled", lambda kind: enabled("cpu" if kind == DEVICE.type else kind))
        yield reads


class DistantAccelerator(Accelerator):
    """Accelerate's view of the second device."""

    def __init__(self):
        super().__init__(cpu=True)

    @property
    def device(self):
        return DEVICE
