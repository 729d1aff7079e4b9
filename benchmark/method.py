"""Define the interface of a method: from class names and frozen image features to logits and a loss.

A method owns its prompts, its learnable parameters, its loss terms and any edit of gradients. The harness owns
everything else: data, seeds, frozen CLIP, optimizer, schedule, precision, devices and files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.clip.backbone import Clip, ImageFeatures, Patches
from benchmark.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Losses:
    """The losses of a batch.

    Attributes:
        terms: named scalars; the optimizer minimizes their sum.
        steering: named scalars whose gradients edit those of the terms; they are never minimized (ProGrad's
            knowledge loss).
    """

    terms: dict[str, Tensor]
    steering: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """The sum of the terms, a scalar."""
        return torch.stack(list(self.terms.values())).sum()

    @property
    def total_steering(self) -> Tensor:
        """The sum of the steering terms, a scalar."""
        return torch.stack(list(self.steering.values())).sum()

    def scaled(self, factor: Tensor | float) -> "Losses":
        """Multiply all scalars by a factor (loss scaling for float16)."""
        return Losses(
            {name: value * factor for name, value in self.terms.items()},
            {name: value * factor for name, value in self.steering.items()},
        )


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """The options of a method that has none."""


def clean_class_names(class_names: Sequence[str], template: str) -> tuple[str, ...]:
    """Replace underscores by spaces, as in prompts, and check names and template.

    Raises:
        ConfigError: the names are empty or no list of strings, or the template does not hold {} exactly once.
    """
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
        raise ConfigError(f"Class names must be a list of strings, got {class_names!r:.80}.")
    if not class_names:
        raise ConfigError("At least one class name is needed.")
    if template.count("{}") != 1:
        raise ConfigError(f"Template '{template}' must contain {{}} exactly once, for the class name.")
    return tuple(name.replace("_", " ") for name in class_names)


def class_indices(class_names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Return the index of each class in `known`, the classes that values were learned for.

    A repeated name (ImageNet has two classes "crane") is matched in order: its k-th occurrence to the k-th in `known`.

    Raises:
        ConfigError: a class is not in `known`.
    """
    places: dict[str, list[int]] = {}
    for index in reversed(range(len(known))):
        places.setdefault(known[index], []).append(index)
    found = [places[name].pop() if places.get(name) else None for name in class_names]
    if None in found:
        unknown = [name for name, index in zip(class_names, found, strict=True) if index is None]
        raise ConfigError(
            f"The values learned for each of {len(known)} classes cannot score other classes: "
            f"'{unknown[0]}'{f' and {len(unknown) - 1} more' if len(unknown) > 1 else ''}."
        )
    return found


def fill_template(class_names: Sequence[str], template: str) -> list[str]:
    """Return the template with each class name in it; raises as `clean_class_names`."""
    return [template.replace("{}", name) for name in clean_class_names(class_names, template)]


class Method(nn.Module):
    """Base class of methods, which classify images with a frozen CLIP; each member documents its default behavior.

    A subclass creates its learnable parameters in `__init__`, in `clip.learnable_dtype` and on `clip.device`, and calls
    `self.set_classes(class_names, template)` at the end. CLIP itself is not a submodule, so `parameters()` are those of
    the method. Buffers hold what the method keeps of the training images (`take_sample`).

    Attributes:
        Options: a frozen, keyword-only dataclass; its fields are the keys of the recipe (methods/<name>.yaml).
        needs_patches: the patch features that `forward` reads: None, "projected", "raw", or a number k: the rows that
            enter layer k of the image tower; see Clip.encode_images.
        needs_pooled: whether `loss` reads `pooled` though `needs_patches` is a number: it is then taken from the
            features that other methods share. Without it, `pooled` is computed in each step that reads it.
        sample_views: number of random views of each training image passed to `take_sample` before training.
        transfers: whether the learned values can score classes they were not trained on. If not, `set_classes`
            accepts trained classes only, in any order.
        edits_gradients: whether `edit_gradients` changes the gradients of the total, given those of the steering terms.
        at_home: whether the images to score are of the dataset trained on; the harness sets it.
        trained, rows: for a method that does not transfer, the classes it was first given, and the indices (C,) of the
            current classes in them.
    """

    Options: ClassVar[type] = NoOptions
    needs_patches: Patches | None = None
    needs_pooled: bool = False
    sample_views: int = 0
    transfers: bool = True
    edits_gradients: bool = False
    at_home: bool = True
    trained: tuple[str, ...] = ()
    rows: Tensor

    def __init__(self, clip: Clip, options: Any):
        super().__init__()
        object.__setattr__(self, "clip", clip)  # not a submodule: never saved or moved
        self.options = options
        self.class_names: tuple[str, ...] = ()

    @classmethod
    def settle(cls, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Merge the keys that the user sets over the defaults.

        A method whose keys depend on one another overrides this and drops the defaults that a given key contradicts.
        """
        return {**defaults, **given}

    def set_classes(self, class_names: Sequence[str], template: str) -> None:
        """Change the classes to score; the learned values stay.

        Args:
            class_names: C names in the order of their labels; underscores are read as spaces.
            template: the template of the dataset, with one {} for the name.
        Raises:
            ConfigError: no class, a template without exactly one {}, or, for a method that does not transfer, a class
                that it was not trained on. The method is unchanged then.
        """
        names = clean_class_names(class_names, template)
        if not self.transfers:
            trained = self.trained or names
            self.rows = torch.tensor(class_indices(names, trained), device=self.clip.device)
            self.trained = trained
        self.class_names = names

    def take_sample(self, views: Sequence[ImageFeatures], labels: Tensor) -> None:
        """Read the training images once, before the first step; called if `sample_views` is above 0.

        Args:
            views: `sample_views` items, each the features of a random view of all N images, in the same order.
            labels: (N,), in 0..C-1.
        """
        raise TypeError(f"{type(self).__name__} has sample_views {self.sample_views}, but no take_sample.")

    def forward(self, images: ImageFeatures) -> Tensor:
        """Return logits (B, C), scaled by exp(logit_scale), from the current values of the parameters."""
        raise TypeError(f"{type(self).__name__} does not define forward(images), which every method needs.")

    def loss(self, images: ImageFeatures, labels: Tensor) -> Losses:
        """Return the losses of a batch with labels (B,) in 0..C-1; by default the mean cross-entropy of the logits."""
        return Losses({"cross_entropy": F.cross_entropy(self(images), labels)})

    def backward(self, losses: Losses) -> None:
        """Add the gradients of the total, edited if `edits_gradients`, to `.grad` of the learnable parameters."""
        if not self.edits_gradients:
            losses.total.backward()
            return
        parameters = self.learnable()
        steering = torch.autograd.grad(losses.total_steering, parameters, retain_graph=True)
        self.add_gradients(torch.autograd.grad(losses.total, parameters), steering)

    def add_gradients(self, gradients: Sequence[Tensor], steering: Sequence[Tensor]) -> None:
        """Edit the gradients of the total by the steering gradients and add them to `.grad`, in `learnable()` order."""
        for parameter, gradient in zip(self.learnable(), self.edit_gradients(gradients, steering), strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def edit_gradients(self, gradients: Sequence[Tensor], steering: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the gradients to use; by default those of the total. A method with `edits_gradients` overrides it."""
        return gradients

    def after_epoch(self, done: int, epochs: int) -> None:
        """Called after each epoch, without gradients, with the number of epochs done and of all: for averages.

        What a method keeps here until the last epoch belongs in buffers with `persistent=False`: a checkpoint of an
        unfinished training holds them, the learned state does not.
        """

    def learnable(self) -> list[nn.Parameter]:
        """Return the parameters that the optimizer updates."""
        return [p for p in self.parameters() if p.requires_grad]

    def learned_state(self) -> dict[str, Tensor]:
        """Return the learned parameters and buffers by name, as detached copies on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self._state().items()}

    def load_learned_state(self, state: Mapping[str, Tensor]) -> None:
        """Load the tensors of a `learned_state`; the names must match exactly.

        A tensor without rows, whose rows belong to the images of a sample not taken yet, takes the rows of the state.

        Raises:
            ConfigError: a name is missing or unknown, or a shape differs; one message names all problems.
        """
        own = self._state()
        problems = [f"'{name}' is missing" for name in sorted(own.keys() - state.keys())]
        problems += [f"'{name}' is unknown. {did_you_mean(name, own)}" for name in sorted(state.keys() - own.keys())]
        problems += [
            f"'{name}' has shape {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
            for name in sorted(own.keys() & state.keys())
            if not _fits(own[name], state[name])
        ]
        if problems:
            raise ConfigError(f"{type(self).__name__}: the learned state does not fit: " + "; ".join(problems))
        with torch.no_grad():
            for name, tensor in own.items():
                if tensor.shape != state[name].shape:
                    tensor.data = tensor.new_empty(state[name].shape)
                tensor.copy_(state[name])

    def _state(self) -> dict[str, Tensor]:
        whole = self.state_dict(keep_vars=True)
        return {name: t for name, t in whole.items() if not isinstance(t, nn.Parameter) or t.requires_grad}

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the keys that the recipe of this method may hold."""
        return tuple(f.name for f in fields(cls.Options))


def _fits(own: Tensor, given: Tensor) -> bool:
    """Return whether the shapes are equal, or `own` has no rows yet and the same width."""
    return own.shape == given.shape or (own.shape[:1] == (0,) and own.shape[1:] == given.shape[1:] and given.ndim > 0)
