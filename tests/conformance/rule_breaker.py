"""A plugin that breaks the rule it is told to: CoOp, with one thing done as it should not be.

A breaker is named after the check that must catch it; behind two underscores, which of several ways it is.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from benchmark.clip.text import unit
from benchmark.errors import ConfigError
from benchmark.method import Losses, Method
from benchmark.prompts import PromptMethod, check_context_keys

BREAKERS: dict[str, Callable[[PromptMethod], None]] = {}


@dataclass(frozen=True, kw_only=True)
class RuleBreakerOptions:
    """Options: those of the context, and the breaker to use."""

    n_ctx: int
    ctx_init: str | None
    breaks: str | None

    def __post_init__(self) -> None:
        check_context_keys(self.n_ctx, self.ctx_init)


class RuleBreaker(PromptMethod):
    """Cross-entropy on learned prompts; a breaker replaces methods of this one instance."""

    Options = RuleBreakerOptions

    def __init__(self, clip, options, class_names, template):
        super().__init__(clip, options)
        self.start_context(options.n_ctx, options.ctx_init)
        self.set_classes(class_names, template)
        if options.breaks:
            BREAKERS[options.breaks](self)
            self.set_classes(class_names, template)


def breaker(function: Callable[[PromptMethod], None]) -> Callable[[PromptMethod], None]:
    BREAKERS[function.__name__] = function
    return function


def change_logits(method: Method, change: Callable) -> None:
    """Put change(images, logits) for the logits."""
    score = method.forward
    method.forward = lambda images: change(images, score(images))


def change_loss(method: Method, change: Callable) -> None:
    """Put change(losses) for the losses."""
    loss = method.loss
    method.loss = lambda images, labels: change(loss(images, labels))


def remember_text(method: PromptMethod, key: Callable) -> None:
    """Keep the text features of the first call without gradients for as long as key() stays the same."""
    encode, kept = method.text_features, {}

    def text_features(images):
        if torch.is_grad_enabled():
            return encode(images)
        now = (method.class_names, key())
        if now not in kept:
            kept[now] = encode(images)
        return kept[now]

    method.text_features = text_features


@breaker
def logits_are_finite_and_of_shape_batch_by_classes__one_is_missing(method):
    change_logits(method, lambda images, logits: logits[:, 1:])


@breaker
def logits_are_finite_and_of_shape_batch_by_classes__some_are_infinite(method):
    change_logits(method, lambda images, logits: logits.masked_fill(logits < 0, -torch.inf))


@breaker
def batch_equals_its_images_one_by_one(method):
    change_logits(method, lambda images, logits: logits - logits.mean(dim=0))


@breaker
def patches_are_read_only_when_declared__read(method):
    change_logits(method, lambda images, logits: logits + (0 if images.patches is None else images.patches.mean()))


@breaker
def patches_are_read_only_when_declared__needed(method):
    change_logits(method, lambda images, logits: logits + images.patches.mean())


@breaker
def patches_are_read_only_when_declared__declared_wrongly(method):
    method.needs_patches = "all"


@breaker
def learned_state_loads_to_the_same_logits__no_buffer(method):
    offset = torch.rand(())
    change_logits(method, lambda images, logits: logits + offset)


@breaker
def learned_state_loads_to_the_same_logits__cannot_be_stored(method):
    method.ctx = nn.Parameter(method.ctx.T.contiguous().T)


@breaker
def learned_state_is_loaded_strictly__too_many(method):
    load = method.load_learned_state
    method.load_learned_state = lambda state: load({name: state[name] for name in method.learned_state()})


@breaker
def learned_state_is_loaded_strictly__too_few(method):
    load = method.load_learned_state
    method.load_learned_state = lambda state: load(method.learned_state() | state)


@breaker
def logits_follow_any_change_of_the_parameters(method):
    remember_text(method, lambda: method.ctx._version)  # a write to .data moves no counter


@breaker
def set_classes_there_and_back_changes_nothing(method):
    take, calls = method.set_classes, []
    method.set_classes = lambda names, template: (take(names, template), calls.append(1))
    change_logits(method, lambda images, logits: logits * (1 + len(calls) / 100))


@breaker
def other_classes_are_taken_or_refused_as_declared__refused(method):
    take, own = method.set_classes, method.class_names

    def set_classes(names, template):
        if not set(names) <= set(own):
            raise ConfigError("these were not trained")
        take(names, template)

    method.set_classes = set_classes


@breaker
def other_classes_are_taken_or_refused_as_declared__taken(method):
    method.transfers, take = False, method.set_classes

    def set_classes(names, template):
        method.trained = ()
        take(names, template)

    method.set_classes = set_classes


@breaker
def refused_classes_leave_the_method_as_it_was__half_taken(method):
    take = method.set_classes

    def set_classes(names, template):
        method.class_names = tuple(names)
        take(names, template)

    method.set_classes = set_classes


@breaker
def refused_classes_leave_the_method_as_it_was__all_taken(method):
    take = method.set_classes
    method.set_classes = lambda names, template: take(list(names), template if template.count("{}") == 1 else "{}")


@breaker
def braces_in_a_template_are_text(method):
    take = method.set_classes
    method.set_classes = lambda names, template: take(names, template.format(*names) and template)


@breaker
def class_order_permutes_logits(method):
    change_logits(method, lambda images, logits: logits + torch.arange(logits.shape[1]) / 10)


@breaker
def only_declared_parameters_move__hidden(method):
    method.offset = torch.zeros((), requires_grad=True)


@breaker
def only_declared_parameters_move__unused(method):
    method.unused = nn.Parameter(torch.zeros(()))


@breaker
def only_declared_parameters_move__frozen(method):
    method.fixed = nn.Parameter(torch.zeros(()), requires_grad=False)
    change_loss(method, lambda losses: (method.fixed.add_(1), losses)[1])


@breaker
def only_declared_parameters_move__clip(method):
    change_loss(method, lambda losses: (method.clip.logit_scale.mul_(1.01), losses)[1])


@breaker
def only_declared_parameters_move__gradients_of_clip(method):
    method.clip.model.requires_grad_(True)


@breaker
def recipe_trains_what_learns_under_every_protocol(method):
    method.ctx.requires_grad_(False)


@breaker
def same_seed_gives_same_weights_and_leaves_global_generators__dropout(method):
    change_logits(method, lambda images, logits: nn.functional.dropout(logits, training=method.training))


@breaker
def same_seed_gives_same_weights_and_leaves_global_generators__seeds(method):
    random.seed(1)


@breaker
def same_seed_gives_same_weights_and_leaves_global_generators__start(method):
    generator = torch.Generator()
    generator.seed()
    method.ctx.data += torch.rand(method.ctx.shape, generator=generator)


@breaker
def loss_terms_sum_to_total__other_sum(method):
    class Doubled(Losses):
        total = property(lambda self: 2 * Losses.total.fget(self))

    change_loss(method, lambda losses: Doubled(losses.terms))


@breaker
def loss_terms_sum_to_total__no_scalar(method):
    change_loss(method, lambda losses: Losses({name: term[None] for name, term in losses.terms.items()}))


@breaker
def scaled_losses_give_scaled_gradients(method):
    def backward(losses):
        losses.total.backward()
        method.ctx.grad.clamp_(-1e-3, 1e-3)

    method.backward = backward


@breaker
def seeds_in_one_pass_learn_what_each_learns_alone(method):
    encode = method.encode_classes
    method.encode_classes = lambda context: unit(encode(context) + 0.1)


@breaker
def memory_does_not_grow_over_steps__losses(method):
    method.history = []
    change_loss(method, lambda losses: (method.history.append(losses.total), losses)[1])


@breaker
def memory_does_not_grow_over_steps__one_tensor(method):
    method.seen = torch.zeros(1)

    def change(images, logits):
        method.seen = torch.cat([method.seen, logits.detach().flatten()])
        return logits

    change_logits(method, change)


@breaker
def learnables_stay_float32_under_autocast(method):
    change_logits(method, lambda images, logits: logits.bfloat16() if torch.is_autocast_enabled("cpu") else logits)


@breaker
def towers_in_half_precision_leave_learnables_in_float32(method):
    method.ctx = nn.Parameter(method.ctx.to(method.clip.dtype))


@breaker
def logits_follow_the_precision_in_force(method):
    remember_text(method, lambda: method.ctx.sum().item())
