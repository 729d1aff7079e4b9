"""The interface of a method: class names and frozen image features in, logits and a loss out.

A method owns its prompts, its learnable parameters, its loss terms and any edit of gradients. The harness owns
everything else: data, seeds, frozen CLIP, optimiser, schedule, precision, devices and files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.clip.backbone import Clip, ImageFeatures
from benchmark.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Losses:
    """What a method computed on a batch.

    Attributes:
        terms: named scalars; their sum is what is minimised.
        steering: named scalars that only steer gradients and are never minimised (ProGrad's knowledge loss).
    """

    terms: dict[str, Tensor]
    steering: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """The sum of the terms, a scalar."""
        return torch.stack(list(self.terms.values())).sum()

    @property
    def total_steering(self) -> Tensor:
        """The sum of what steers, a scalar."""
        return torch.stack(list(self.steering.values())).sum()

    def scaled(self, factor: Tensor | float) -> "Losses":
        """All scalars times a factor: loss scaling for float16."""
        return Losses(
            {name: value * factor for name, value in self.terms.items()},
            {name: value * factor for name, value in self.steering.items()},
        )


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """The options of a method that has none."""


def cleaned(class_names: Sequence[str], template: str) -> tuple[str, ...]:
    """Class names as prompts hold them, underscores as blanks.

    Raises:
        ConfigError: no class, something that is no list of texts, or a template without exactly one {}.
    """
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
        raise ConfigError(f"Class names must be a list of texts, got {class_names!r:.80}.")
    if not class_names:
        raise ConfigError("At least one class name is needed.")
    if template.count("{}") != 1:
        raise ConfigError(f"Template '{template}' must hold {{}} exactly once, where the class name goes.")
    return tuple(name.replace("_", " ") for name in class_names)


def among(class_names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Where each class stands among those that values were learned for, one a class.

    A name that repeats (ImageNet has two cranes) is taken in order: the k-th of it is the k-th there.

    Raises:
        ConfigError: a class that is not among them.
    """
    places: dict[str, list[int]] = {}
    for index in reversed(range(len(known))):
        places.setdefault(known[index], []).append(index)
    found = [places[name].pop() if places.get(name) else None for name in class_names]
    if None in found:
        strangers = [name for name, index in zip(class_names, found, strict=True) if index is None]
        raise ConfigError(
            f"What was learned belongs to {len(known)} classes, one by one, and cannot score others: "
            f"'{strangers[0]}'{f' and {len(strangers) - 1} more' if len(strangers) > 1 else ''}."
        )
    return found


def filled(class_names: Sequence[str], template: str) -> list[str]:
    """The template with each class name in it; raises as `cleaned`."""
    return [template.replace("{}", name) for name in cleaned(class_names, template)]


class Method(nn.Module):
    """One way to classify images with frozen CLIP; subclass it, and see docs of each member for the ordinary thing.

    A subclass builds its learnable parameters in `__init__`, in `clip.learnable_dtype` and on `clip.device`, and ends
    it with `self.set_classes(class_names, template)`. CLIP itself is no submodule: `parameters()` are what is learned,
    and a buffer holds what is kept of the training images (`take_sample`).

    Attributes:
        Options: a frozen, keyword-only dataclass; its fields are the keys of the recipe (methods/<name>.yaml).
        needs_patches: None, "projected" or "raw": the patch features that `forward` reads.
        sample_views: how many train views of its training images a method reads before training (`take_sample`).
        transfers: the learned values can score classes they were not trained on. Where they cannot, `set_classes`
            takes trained classes alone, in any order: `rows` says where each stands among those `trained` on.
        edits_gradients: `edit_gradients` changes the total's gradients, with those of the steering terms at hand.
        trained, rows: of a method that does not transfer, the first classes it took, and (C,) which of them those of
            now are.
    """

    Options: ClassVar[type] = NoOptions
    needs_patches: Literal["projected", "raw"] | None = None
    sample_views: int = 0
    transfers: bool = True
    edits_gradients: bool = False
    trained: tuple[str, ...] = ()
    rows: Tensor

    def __init__(self, clip: Clip, options: Any):
        super().__init__()
        object.__setattr__(self, "clip", clip)  # past nn.Module, so that frozen weights are never saved or moved
        self.options = options
        self.class_names: tuple[str, ...] = ()

    @classmethod
    def settle(cls, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Lay the keys that somebody gave over the defaults below them; what is given always stands.

        A method whose keys depend on one another drops here the defaults that a given key contradicts.
        """
        return {**defaults, **given}

    def set_classes(self, class_names: Sequence[str], template: str) -> None:
        """Take other classes with the same learned values.

        Args:
            class_names: C names in the order of their labels; underscores are read as blanks.
            template: the dataset's, with one {} for the name.
        Raises:
            ConfigError: no class, a template without exactly one {}, or a class that a method which does not transfer
                was not trained on. The method is then as it was before.
        """
        names = cleaned(class_names, template)
        if not self.transfers:
            trained = self.trained or names
            self.rows = torch.tensor(among(names, trained), device=self.clip.device)
            self.trained = trained
        self.class_names = names

    def take_sample(self, views: Sequence[ImageFeatures], labels: Tensor) -> None:
        """Read the training images themselves, once, before the first step; only where `sample_views` is above 0.

        Args:
            views: `sample_views` of them, each the features of a random view of all N images, in the same order.
            labels: (N,), in 0..C-1.
        """
        raise TypeError(f"{type(self).__name__} has sample_views {self.sample_views}, but no take_sample.")

    def forward(self, images: ImageFeatures) -> Tensor:
        """Logits (B, C), times exp(logit_scale). They always reflect the parameters as they are now."""
        raise TypeError(f"{type(self).__name__} does not define forward(images), which every method needs.")

    def loss(self, images: ImageFeatures, labels: Tensor) -> Losses:
        """Loss of a batch with labels (B,) in 0..C-1. Ordinarily: the mean cross-entropy of the logits."""
        return Losses({"cross_entropy": F.cross_entropy(self(images), labels)})

    def backward(self, losses: Losses) -> None:
        """Add the gradients of a step to `.grad` of the learnable parameters: the total's, edited where asked."""
        if not self.edits_gradients:
            losses.total.backward()
            return
        parameters = self.learnable()
        steering = torch.autograd.grad(losses.total_steering, parameters, retain_graph=True)
        self.add_gradients(torch.autograd.grad(losses.total, parameters), steering)

    def add_gradients(self, gradients: Sequence[Tensor], steering: Sequence[Tensor]) -> None:
        """Add these gradients of the total to `.grad`, edited by those of what steers; in the order of `learnable`."""
        for parameter, gradient in zip(self.learnable(), self.edit_gradients(gradients, steering), strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def edit_gradients(self, gradients: Sequence[Tensor], steering: Sequence[Tensor]) -> Sequence[Tensor]:
        """The gradients to use; a method with `edits_gradients` overrides it. Ordinarily: those of the total."""
        return gradients

    def learnable(self) -> list[nn.Parameter]:
        """What the optimiser moves."""
        return [p for p in self.parameters() if p.requires_grad]

    def learned_state(self) -> dict[str, Tensor]:
        """What a run leaves behind, by name: learned parameters and buffers, detached copies on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self._state().items()}

    def load_learned_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the tensors of a `learned_state`, all of them and no others.

        A tensor that has no rows yet, one for each image of a sample that was never taken, gets as many as there are.

        Raises:
            ConfigError: a name is missing or unknown, or a shape differs; all problems in one message.
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
        """The keys that this method's recipe may hold."""
        return tuple(f.name for f in fields(cls.Options))


def _fits(own: Tensor, given: Tensor) -> bool:
    """Whether a tensor can take another's values: of one shape, or no rows yet of that width."""
    return own.shape == given.shape or (own.shape[:1] == (0,) and own.shape[1:] == given.shape[1:] and given.ndim > 0)
