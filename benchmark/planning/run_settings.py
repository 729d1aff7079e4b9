"""Define where and how runs are computed: the backbone, the results folder, device, precision and switches."""

from dataclasses import dataclass
from pathlib import Path

from benchmark.clip.backbone import Patches
from benchmark.clip.locate import checkpoint_hash
from benchmark.planning.inputs import backbone_folder
from benchmark.planning.request import Request


@dataclass(frozen=True)
class Backbone:
    """The CLIP checkpoint of a request.

    Attributes:
        name: as the user gave it.
        folder: where its files are; None if it is not downloaded yet.
        hash: short sha256 of its files.
    """

    name: str
    folder: Path | None
    hash: str

    @classmethod
    def find(cls, name: str, *, fetch: bool) -> "Backbone":
        """Find a backbone by name; `fetch` allows a download."""
        folder = backbone_folder(name, fetch=fetch)
        return cls(name, folder, "not-fetched" if folder is None else checkpoint_hash(folder))


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What all runs of a plan share; every worker process gets it.

    Attributes:
        out: the results folder.
        threads: of each process on a CPU.
        plugins: files of methods outside this repository.
        patches: the kinds of patch features that methods read, None for the pooled embedding alone.
        cache: whether image features may be kept on disk.
        lockstep: whether the seeds of a (method, dataset) are trained in one pass.
        graphs: whether training steps may be CUDA graphs.
        checkpoint_minutes: between two checkpoints of a running training.
    """

    backbone: Backbone
    out: Path
    device: str
    precision: str
    threads: int
    plugins: tuple[Path, ...]
    patches: frozenset[Patches | None]
    cache: bool
    lockstep: bool
    graphs: bool
    checkpoint_minutes: float

    @classmethod
    def of(cls, request: Request, backbone: Backbone, patches: frozenset[Patches | None]) -> "RunSettings":
        """The settings of a request."""
        same = ("out", "device", "precision", "threads", "plugins", "cache", "lockstep", "graphs", "checkpoint_minutes")
        return cls(backbone=backbone, patches=patches, **{name: getattr(request, name) for name in same})
