"""Check training: what may change, what is minimized, and that a run can be repeated."""

import gc
import math
import random

import numpy as np
import torch
from torch import Tensor

from benchmark.common.config import Options
from benchmark.method import Method
from benchmark.plugins.factory import create_method
from benchmark.plugins.recipes import resolve_recipe
from benchmark.protocols.registry import PROTOCOLS
from benchmark.training import lockstep
from tests.conformance.subject import LABELS, NAMES, TEMPLATE, Subject, differ, gradients, images_for, logits_of, train

STEPS = 50  # after which memory must not have grown
WARM_UP = 5  # steps that fill caches


def check_only_declared_parameters_move(subject: Subject) -> None:
    """Training changes every nn.Parameter of the method and nothing else, because CLIP is frozen for all methods."""
    method = subject.make()
    frozen, start = _frozen(method), {name: p.detach().clone() for name, p in method.named_parameters()}
    hidden = sorted(name for module in method.modules() for name, value in vars(module).items() if _is_hidden(value))
    assert not hidden, f"{', '.join(hidden)}: requires gradients, but is not an nn.Parameter; it is never trained."
    train(method)
    moved = [name for name, value in _frozen(method).items() if not torch.equal(value, frozen[name])]
    assert not moved, f"training changed frozen CLIP: {', '.join(moved[:3])}."
    left = [name for name, p in method.clip.model.named_parameters() if p.requires_grad or p.grad is not None]
    assert not left, f"training left gradients on frozen CLIP: {', '.join(left[:3])}."
    for name, parameter in method.named_parameters():
        same = torch.equal(start[name], parameter)
        assert same != parameter.requires_grad, f"'{name}' {'never changes' if same else 'changes though frozen'}."


def check_recipe_trains_what_learns_under_every_protocol(subject: Subject) -> None:
    """The recipe is complete under every protocol and has epochs if and only if the method learns.

    A method that learns and has no epochs would be scored untrained.
    """
    learns, made = bool(subject.make().learnable()), set()
    for protocol in PROTOCOLS:
        for shots in (1, 16):
            recipe = resolve_recipe(
                subject.name, [subject.options], template=TEMPLATE, protocol=protocol, shots=shots, dataset="caltech101"
            )
            assert (recipe.training is not None) == learns, (
                f"under {protocol} with {shots} shots the recipe has {'no epochs' if learns else 'epochs'}, but the "
                f"method has {'something' if learns else 'nothing'} to learn."
            )
            options = Options(recipe.options)  # as a record stores them
            if options not in made:
                create_method(
                    subject.name, clip=subject.clip, class_names=NAMES, template=TEMPLATE, config=dict(options)
                )
                made.add(options)


def check_same_seed_gives_same_weights_and_leaves_global_generators(subject: Subject) -> None:
    """The same seed gives the same weights before and after training, and no global generator is used.

    A run must be repeatable whatever ran before it. A method that needs random numbers in training keeps a generator
    of its own and seeds it in __init__, where torch's generator is seeded for it.
    """
    outcomes = []
    for outside in (7, 8):
        torch.manual_seed(outside)
        random.seed(outside)
        np.random.seed(outside)
        before = _generators()
        method = subject.make(seed=3)
        start = method.learned_state()
        logits_of(train(method))
        used = [name for name, state in _generators().items() if state != before[name]]
        assert not used, f"the global generator of {' and of '.join(used)} was used or seeded."
        outcomes.append((start, method.learned_state()))
    for when, one, other in zip(("before training", "after training"), *outcomes, strict=True):
        changed = [name for name in one if not torch.equal(one[name], other[name])]
        assert not changed, f"{when}, two instances of one seed differ in {', '.join(changed)}."


def check_loss_terms_sum_to_total(subject: Subject) -> None:
    """The total is the sum of the named terms, each a finite scalar, so that the record reports what is minimized."""
    method = subject.make()
    losses = method.loss(images_for(method), LABELS)
    for name, term in {**losses.terms, **losses.steering}.items():
        assert term.ndim == 0, f"'{name}' has shape {tuple(term.shape)}; it must be a scalar."
        assert term.isfinite(), f"'{name}' is {term.item()}."
    total, terms = losses.total.item(), sum(term.item() for term in losses.terms.values())
    assert math.isclose(total, terms, rel_tol=1e-5, abs_tol=1e-7), f"the total is {total}, the terms sum to {terms}."


def check_scaled_losses_give_scaled_gradients(subject: Subject) -> None:
    """Losses times a factor give gradients times it, edited ones too, because float16 training scales losses."""
    factor = 8.0
    if not subject.make().learnable():
        return
    pairs = zip(gradients(subject.make()), gradients(subject.make(), factor), strict=True)
    for name, (one, scaled) in zip(_learnable_names(subject.make()), pairs, strict=True):
        assert one is not None, f"'{name}' has no gradient: the loss does not depend on it."
        assert not _far(factor * one, scaled), f"with losses times {factor}, the gradient of '{name}' does not scale."


def check_seeds_in_one_pass_learn_what_each_learns_alone(subject: Subject) -> None:
    """Seeds trained together get the gradients of each alone, because speed must not change results.

    They share encode_classes of PromptMethod; a method that encodes otherwise sets stands_in_front = False.
    """
    methods = [subject.make(seed=0), subject.make(seed=1)]
    if not lockstep.can_share(methods):
        return
    images = [images_for(method, seed=seed) for seed, method in enumerate(methods)]
    lockstep.backward(methods, lockstep.losses_of(methods, images, [LABELS, LABELS]))
    for seed, method in enumerate(methods):
        alone = subject.make(seed=seed)
        alone.backward(alone.loss(images[seed], LABELS))
        for name, one, other in zip(_learnable_names(alone), alone.learnable(), method.learnable(), strict=True):
            assert not _far(one.grad, other.grad), (
                f"the gradient of '{name}' differs by up to {(one.grad - other.grad).abs().max():.3g} between two "
                "seeds in one pass and one alone."
            )


def check_memory_does_not_grow_over_steps(subject: Subject) -> None:
    """50 steps keep no more tensors than a few steps, because thousands of steps would run out of memory."""
    method = subject.make()
    images, labels = images_for(method)[:2], LABELS[:2]
    optimizer = torch.optim.SGD(method.learnable(), lr=1e-4) if method.learnable() else None

    def run(steps: int) -> None:
        for _ in range(steps):
            if optimizer is not None:
                optimizer.zero_grad()
                method.backward(method.loss(images, labels))
                optimizer.step()
            with torch.no_grad():
                method(images)

    run(WARM_UP)
    gc.collect()
    gc.freeze()  # the collector then sees new objects only, which is also faster
    try:
        run(STEPS // 2)
        middle = _held()
        run(STEPS // 2)
        last = _held()
    finally:
        gc.unfreeze()
    for what, index in (("tensors", 0), ("bytes of tensors", 1)):
        assert not 0 < middle[index] < last[index], (  # a single increase is no leak
            f"{last[index]} more {what} after {STEPS} steps. Each step keeps something: detach it, or keep its .item()."
        )


def _frozen(method: Method) -> dict[str, Tensor]:
    state = method.clip.model.state_dict() | {"logit_scale": method.clip.logit_scale}
    return {name: value.clone() for name, value in state.items()}


def _is_hidden(value: object) -> bool:
    """Whether it is a leaf tensor that requires gradients; parameters are not in a module's __dict__."""
    return isinstance(value, Tensor) and value.requires_grad and value.is_leaf


def _generators() -> dict[str, object]:
    kind, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "random": random.getstate(),
        "numpy": (kind, keys.tobytes(), *rest),
    }


def _learnable_names(method: Method) -> list[str]:
    return [name for name, parameter in method.named_parameters() if parameter.requires_grad]


def _far(one: Tensor, other: Tensor) -> bool:
    """Whether two gradients differ by more than rounding, relative to the largest entry."""
    scale = one.abs().max().clamp(min=1e-12)
    return differ(10 * one / scale, 10 * other / scale)


def _held() -> tuple[int, int]:
    """Number of live tensors, and their bytes with shared storage counted once."""
    gc.collect()
    alive = [each for each in gc.get_objects() if issubclass(type(each), Tensor)]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in alive}
    return len(alive), sum(storages.values())
