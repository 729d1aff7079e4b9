"""Load learned values from files instead of training: find the file of each run and check that it fits.

A file is named with --load METHOD=PATH, where PATH may contain {dataset}, {seed} and {shots}.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from benchmark.clip.backbone import outline
from benchmark.common.config import RunSpec
from benchmark.common.files import expand
from benchmark.errors import ConfigError, ShapeError
from benchmark.method import Method
from benchmark.plugins.factory import create_method
from benchmark.plugins.importer import method_class
from benchmark.training.load_paths import PLACES
from benchmark.training.released import POSITION, START, Released, read_released

SAME_ROW = 0.02  # relative distance of two embeddings of one token; rounding to float16 moves one by 0.0003


class Loader:
    """Finds and reads the files that --load names, each once.

    Attributes:
        read: the files read so far, by path.
    """

    def __init__(self, patterns: Mapping[str, str]):
        self._patterns = patterns
        self.read: dict[Path, Released] = {}

    def seeds(self, method: str, seeds: Sequence[int]) -> Sequence[int]:
        """The seeds that a method runs: only the first if its path has no {seed}, since the others would repeat it."""
        return seeds[:1] if method in self._patterns and "{seed}" not in self._patterns[method] else seeds

    def released(self, method: str, *, dataset: str, shots: int, seed: int) -> Released | None:
        """The learned values for a run; None for a method that is trained.

        Raises:
            ConfigError: the file is missing, cannot be read or belongs to another method.
        """
        if method not in self._patterns:
            return None
        named = self._patterns[method]
        for place, value in zip(PLACES, (dataset, seed, shots), strict=True):
            named = named.replace(f"{{{place}}}", str(value))
        path = expand(named)
        if not path.is_file():
            why = "is a folder; give the file in it" if path.is_dir() else "does not exist"
            raise ConfigError(f"--load {method}: {path} {why}")
        if path not in self.read:
            self.read[path] = read_released(path)
        found = self.read[path]
        if found.about.get("method", method) != method:
            raise ConfigError(f"--load {method}: {path} holds values of '{found.about['method']}'")
        return found

    def options(self, method: str, released: Released | None) -> dict[str, object]:
        """The options that follow from a file; they replace those of the recipe."""
        return released.options(method_class(method).option_names()) if released else {}

    def notes(self, method: str, seeds: Sequence[int]) -> list[str]:
        """Notes for the user on a method whose values are loaded."""
        if method not in self._patterns:
            return []
        pattern = self._patterns[method]
        note = f"{method}: learned values are loaded from {pattern}; nothing is trained."
        if (own := self.seeds(method, seeds)) != seeds:
            note += f" The path has no {{seed}}: it is scored once, as seed {own[0]}."
        return [note]


class CompatibilityCheck:
    """Checks files against the methods and the backbone that load them, on an outline of the backbone."""

    def __init__(self, folder: Path):
        self._clip = outline(folder, narrow=False)[0]
        self._known: dict[tuple, list[str]] = {}

    def problems(self, spec: RunSpec, released: Released, class_names: Sequence[str]) -> list[str]:
        """Problems with loading a file for a run that trains on these classes."""
        key = (released.path, spec.method, spec.options, spec.checkpoint, tuple(class_names))
        if key not in self._known:
            self._known[key] = self._check(spec, released, class_names)
        return self._known[key]

    def _check(self, spec: RunSpec, released: Released, class_names: Sequence[str]) -> list[str]:
        found = []
        if (own := released.about.get("checkpoint", spec.checkpoint)) != spec.checkpoint:
            found.append(
                f"{released.path}: was learned with another backbone (files {own}) than {spec.backbone} (files "
                f"{spec.checkpoint}). Give --backbone {released.about.get('backbone')}"
            )
        try:
            method = self._made(spec, class_names[:2])
            if not method.transfers:
                method = self._made(spec, class_names)
                found += _other_order(spec, released, class_names)
            if one_each := _for_each_class(spec, released):
                return [*found, one_each]
            method.load_learned_state(released.tensors)
        except (ConfigError, ShapeError) as error:
            found.append(f"--load {spec.method}={released.path}: {error} Is it a file of {spec.method}?")
        return found

    def _made(self, spec: RunSpec, class_names: Sequence[str]) -> Method:
        options = dict(spec.options)
        return create_method(
            spec.method, clip=self._clip, class_names=class_names, template=spec.template, config=options
        )


def _other_order(spec: RunSpec, released: Released, class_names: Sequence[str]) -> list[str]:
    """The problem that values learned class by class are for other classes or another order, if the file names them."""
    named = released.about.get("class_names") or list(class_names)
    if named == list(class_names):
        return []
    return [
        f"--load {spec.method}={released.path}: holds values of each of {len(named)} classes, {', '.join(named[:3])} "
        f"..., which are not those of {spec.dataset} in {spec.protocol}, {', '.join(class_names[:3])} ..."
    ]


def _for_each_class(spec: RunSpec, released: Released) -> str | None:
    """The problem that a file has a context for each class, as KgCoOp's and ProGrad's code can learn it."""
    context = released.tensors.get("ctx")
    if context is None or context.ndim != 3 or "class_specific" in method_class(spec.method).option_names():
        return None
    return (
        f"--load {spec.method}={released.path}: holds a context for each of {len(context)} classes. They are scored "
        f"as those of CoOp: --methods coop --load coop={released.path}"
    )


def file_notes(spec: RunSpec, released: Released, class_names: Sequence[str]) -> list[str]:
    """Notes on a checkpoint: tensors that are dropped, and another number of classes than the run trains on."""
    notes = []
    if released.frozen:
        notes.append(f"{spec.method}: {released.frozen} tensors of the frozen CLIP in {released.path} are left out.")
    if released.dropped:
        unused = ", ".join(released.dropped)
        notes.append(f"{spec.method}: {unused} of {released.path} are dropped; its authors' code never uses them.")
    if released.classes in (None, len(class_names)):
        return notes
    return [
        *notes,
        f"{spec.method}: {released.path} was trained on {released.classes} classes, where {spec.protocol} trains on "
        f"{len(class_names)} of {spec.dataset}: its row does not follow that protocol.",
    ]


def load_into(method: Method, spec: RunSpec, path: Path) -> None:
    """Load the file of a run into its method, instead of training it.

    Raises:
        ConfigError: the file changed since the plan, does not fit, or was learned with another backbone.
    """
    released = read_released(path)
    if released.digest != spec.loaded:
        raise ConfigError(f"{path}: changed since these runs were planned. Start the command again.")
    text = method.clip.text
    start = torch.tensor([text.start_id], device=method.clip.device)
    own_rows = {START: text.embed(start)[0], POSITION: text.positions[0]}
    for what, row in released.backbone.items():
        own = own_rows[what].detach().float().cpu()
        if own.shape != row.shape or (own - row).norm() > SAME_ROW * own.norm():
            raise ConfigError(
                f"{path}: was learned with another backbone than {spec.backbone}: their {what} differ. Give the "
                "backbone of the file as --backbone."
            )
    method.load_learned_state(released.tensors)
