"""Define what all runs of a plan share: the backbone, and where and how they are computed."""

from dataclasses import dataclass, fields
from pathlib import Path

from benchmark.clip.backbone import Patches
from benchmark.clip.locate import checkpoint_hash
from benchmark.planning.inputs import backbone_folder
from benchmark.planning.request import ComputeSettings, Request


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
class RunSettings(ComputeSettings):
    """What all runs of a plan share; every worker process gets it.

    Attributes:
        patches: the kinds of patch features that methods read, None for the pooled embedding alone.
    """

    backbone: Backbone
    patches: frozenset[Patches | None]

    @classmethod
    def of(cls, request: Request, backbone: Backbone, patches: frozenset[Patches | None]) -> "RunSettings":
        """The settings of a request."""
        same = {field.name: getattr(request, field.name) for field in fields(ComputeSettings)}
        return cls(backbone=backbone, patches=patches, **same)
