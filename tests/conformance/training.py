"""The rules of training: what may move, what is minimised, and that a run can be repeated."""

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

STEPS = 50  # after which memory is what it was
WARM_UP = 5  # steps in which things are made that are kept


def check_only_declared_parameters_move(subject: Subject) -> None:
    """Training moves every nn.Parameter of the method and nothing else: CLIP is frozen in every row of the table."""
    method = subject.make()
    frozen, start = _frozen(method), {name: p.detach().clone() for name, p in method.named_parameters()}
    hidden = sorted(name for module in method.modules() for name, value in vars(module).items() if _is_hidden(value))
    assert not hidden, f"{', '.join(hidden)}: a tensor that wants gradients, but no nn.Parameter; it would never move."
    train(method)
    moved = [name for name, value in _frozen(method).items() if not torch.equal(value, frozen[name])]
    assert not moved, f"training changed frozen CLIP: {', '.join(moved[:3])}."
    left = [name for name, p in method.clip.model.named_parameters() if p.requires_grad or p.grad is not None]
    assert not left, f"training left gradients on frozen CLIP: {', '.join(left[:3])}."
    for name, parameter in method.named_parameters():
        same = torch.equal(start[name], parameter)
        assert same != parameter.requires_grad, f"'{name}' {'never moves' if same else 'moves, though it is frozen'}."


def check_recipe_trains_what_learns_under_every_protocol(subject: Subject) -> None:
    """The recipe is whole under every protocol, and trains a method if and only if it learns.

    A method that learns and has no epochs would be scored untrained.
    """
    learns, made = bool(subject.make().learnable()), set()
    for protocol in PROTOCOLS:
        for shots in (1, 16):
            recipe = resolve_recipe(
                subject.name, [subject.config], template=TEMPLATE, protocol=protocol, shots=shots, dataset="caltech101"
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
    """The same seed gives the same weights, before training and after it, and no global generator is drawn from.

    A run must be repeatable whatever ran before it. A method that draws in training keeps a generator of its own,
    seeded in __init__, where torch's is seeded for it.
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
        assert not used, f"the global generator of {' and of '.join(used)} was drawn from or seeded."
        outcomes.append((start, method.learned_state()))
    for when, one, other in zip(("before training", "after training"), *outcomes, strict=True):
        changed = [name for name in one if not torch.equal(one[name], other[name])]
        assert not changed, f"{when}, two instances of one seed differ in {', '.join(changed)}."


def check_loss_terms_sum_to_total(subject: Subject) -> None:
    """What is minimised is what is reported: the total is the sum of the named terms, each a finite scalar."""
    method = subject.make()
    losses = method.loss(images_for(method), LABELS)
    for name, term in {**losses.terms, **losses.steering}.items():
        assert term.ndim == 0, f"'{name}' has shape {tuple(term.shape)}; it must be a scalar."
        assert term.isfinite(), f"'{name}' is {term.item()}."
    total, terms = losses.total.item(), sum(term.item() for term in losses.terms.values())
    assert math.isclose(total, terms, rel_tol=1e-5, abs_tol=1e-7), f"the total is {total}, the terms sum to {terms}."


def check_scaled_losses_give_scaled_gradients(subject: Subject) -> None:
    """Losses times a factor give gradients times that factor, because float16 is trained so; edited ones too."""
    factor = 8.0
    if not subject.make().learnable():
        return
    pairs = zip(gradients(subject.make()), gradients(subject.make(), factor), strict=True)
    for name, (one, scaled) in zip(_learnable_names(subject.make()), pairs, strict=True):
        assert one is not None, f"'{name}' has no gradient: the loss does not depend on it."
        assert not _far(factor * one, scaled), f"of losses times {factor}, the gradient of '{name}' is another."


def check_seeds_in_one_pass_learn_what_each_learns_alone(subject: Subject) -> None:
    """Seeds trained side by side get the gradients of each alone, or a setting of speed would change the results.

    They share encode_classes of PromptMethod; one that encodes otherwise says so: stands_in_front = False.
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
    """50 steps hold no more tensors than a few do, because a training of thousands would run out of memory."""
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
    gc.freeze()  # from here on the collector knows only what is new, which also makes it quick
    try:
        run(STEPS // 2)
        middle = _held()
        run(STEPS // 2)
        last = _held()
    finally:
        gc.unfreeze()
    for what, index in (("tensors", 0), ("bytes of tensors", 1)):
        assert not 0 < middle[index] < last[index], (  # what grows once is no leak
            f"{last[index]} more {what} after {STEPS} steps. Something is kept of each: detach it, or keep its .item()."
        )


def _frozen(method: Method) -> dict[str, Tensor]:
    state = method.clip.model.state_dict() | {"logit_scale": method.clip.logit_scale}
    return {name: value.clone() for name, value in state.items()}


def _is_hidden(value: object) -> bool:
    """Whether it is a leaf that wants gradients and that no optimiser will see; a module keeps parameters elsewhere."""
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
    """Whether two gradients differ by more than rounding, in units of the largest entry."""
    scale = one.abs().max().clamp(min=1e-12)
    return differ(10 * one / scale, 10 * other / scale)


def _held() -> tuple[int, int]:
    """Tensors that the collector knows, and their bytes, shared ones counted once."""
    gc.collect()
    alive = [each for each in gc.get_objects() if issubclass(type(each), Tensor)]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in alive}
    return len(alive), sum(storages.values())
