"""A plugin that breaks a rule of choice: CoOp with one defect.

A breaker is named after the check that must catch it; the part after two underscores tells several of them apart.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from benchmark.clip.layer import Edits, replace_rows
from benchmark.clip.text import unit
from benchmark.errors import ConfigError
from benchmark.method import Losses, Method
from benchmark.prompts import PromptMethod, check_context_keys

Breaker = Callable[[PromptMethod], object]


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


def replaces(name: str, change: Callable) -> Breaker:
    """A breaker that replaces a method of the instance by change(instance, replaced method, *arguments)."""

    def break_rule(method: Method) -> None:
        replaced = getattr(method, name)
        setattr(method, name, lambda *arguments: change(method, replaced, *arguments))

    return break_rule


def sets(name: str, value: Callable) -> Breaker:
    """A breaker that sets an attribute to value(instance)."""
    return lambda method: setattr(method, name, value(method))


def logits(change: Callable) -> Breaker:
    """A breaker that returns change(images, logits) as logits."""
    return replaces("forward", lambda method, score, images: change(images, score(images)))


def remember_text(key: Callable) -> Breaker:
    """A breaker that keeps the first text features without gradients for as long as key(instance) stays the same."""
    kept = {}

    def text_features(method, encode, images):
        if torch.is_grad_enabled():
            return encode(images)
        now = (id(method), method.class_names, key(method))
        if now not in kept:
            kept[now] = encode(images)
        return kept[now]

    return replaces("text_features", text_features)


def add_random_offset(method):
    offset = torch.rand(())
    logits(lambda images, logits: logits + offset)(method)


def count_calls_of_set_classes(method):
    calls = []
    replaces("set_classes", lambda method, take, *given: (take(*given), calls.append(1)))(method)
    logits(lambda images, logits: logits * (1 + len(calls) / 100))(method)


def take_all_classes_but_declare_that_only_trained_ones_are_taken(method):
    method.transfers = False
    replaces("set_classes", lambda method, take, *given: (setattr(method, "trained", ()), take(*given)))(method)


def learn_a_frozen_parameter(method):
    method.fixed = nn.Parameter(torch.zeros(()), requires_grad=False)
    replaces("loss", lambda method, loss, *given: (method.fixed.add_(1), loss(*given))[1])(method)


def put_a_detached_prompt_into_layer_1(method):
    method.deep = nn.Parameter(torch.zeros_like(method.ctx))

    def encode_classes(method, encode, context):
        edits = Edits(enter={1: partial(replace_rows, rows=method.deep.detach(), first=1)})
        return method.clip.text.encode(method.text_plan, context, edits=edits)

    replaces("encode_classes", encode_classes)(method)


def double_the_total(method, loss, *given):
    class Doubled(Losses):
        total = property(lambda self: 2 * Losses.total.fget(self))

    return Doubled(loss(*given).terms)


def keep_all_losses(method):
    method.history = []
    replaces("loss", lambda method, loss, *given: (method.history.append(loss(*given).total), loss(*given))[1])(method)


def refuse_other_classes(method):
    def set_classes(method, take, names, template):
        if not set(names) <= set(own):
            raise ConfigError("these were not trained")
        take(names, template)

    own = method.class_names
    replaces("set_classes", set_classes)(method)


def drop_logits_in_training(method):
    logits(lambda images, logits: nn.functional.dropout(logits, training=method.training))(method)


def lengthen_a_tensor(method):
    method.seen = torch.zeros(1)

    def forward(images, logits):
        method.seen = torch.cat([method.seen, logits.detach().flatten()])
        return logits

    logits(forward)(method)


BREAKERS: dict[str, Breaker] = {
    "logits_are_finite_and_of_shape_batch_by_classes__one_is_missing": logits(lambda images, logits: logits[:, 1:]),
    "logits_are_finite_and_of_shape_batch_by_classes__some_are_infinite": logits(
        lambda images, logits: logits.masked_fill(logits < 0, -torch.inf)
    ),
    "batch_equals_its_images_one_by_one": logits(lambda images, logits: logits - logits.mean(dim=0)),
    "patches_are_read_only_when_declared__read": logits(
        lambda images, logits: logits + (0 if images.patches is None else images.patches.mean())
    ),
    "patches_are_read_only_when_declared__needed": logits(lambda images, logits: logits + images.patches.mean()),
    "patches_are_read_only_when_declared__declared_wrongly": sets("needs_patches", lambda method: "all"),
    "patches_are_read_only_when_declared__beyond_the_tower": sets("needs_patches", lambda method: 99),
    "only_declared_parameters_move__deep_prompt_without_gradient": put_a_detached_prompt_into_layer_1,
    "learned_state_loads_to_the_same_logits": add_random_offset,
    "learned_state_loads_to_the_same_logits__cannot_be_stored": sets(
        "ctx", lambda method: nn.Parameter(method.ctx.T.contiguous().T)
    ),
    "learned_state_is_loaded_strictly__too_many": replaces(
        "load_learned_state", lambda method, load, state: load({name: state[name] for name in method.learned_state()})
    ),
    "learned_state_is_loaded_strictly__too_few": replaces(
        "load_learned_state", lambda method, load, state: load(method.learned_state() | state)
    ),
    "logits_follow_any_change_of_the_parameters": remember_text(
        lambda method: method.ctx._version  # a write to .data does not change the counter
    ),
    "set_classes_there_and_back_changes_nothing": count_calls_of_set_classes,
    "other_classes_are_taken_or_refused_as_declared": take_all_classes_but_declare_that_only_trained_ones_are_taken,
    "other_classes_are_taken_or_refused_as_declared__refused": refuse_other_classes,
    "refused_classes_leave_the_method_as_it_was__all_taken": replaces(
        "set_classes",
        lambda method, take, names, template: take(list(names), template if template.count("{}") == 1 else "{}"),
    ),
    "refused_classes_leave_the_method_as_it_was": replaces(
        "set_classes",
        lambda method, take, names, template: (setattr(method, "class_names", tuple(names)), take(names, template)),
    ),
    "braces_in_a_template_are_text": replaces(
        "set_classes", lambda method, take, names, template: take(names, template.format(*names) and template)
    ),
    "class_order_permutes_logits": logits(lambda images, logits: logits + torch.arange(logits.shape[1]) / 10),
    "only_declared_parameters_move__hidden": sets("offset", lambda method: torch.zeros((), requires_grad=True)),
    "only_declared_parameters_move__unused": sets("unused", lambda method: nn.Parameter(torch.zeros(()))),
    "only_declared_parameters_move__frozen": learn_a_frozen_parameter,
    "only_declared_parameters_move__clip": replaces(
        "loss", lambda method, loss, *given: (method.clip.logit_scale.mul_(1.01), loss(*given))[1]
    ),
    "only_declared_parameters_move__gradients_of_clip": lambda method: method.clip.model.requires_grad_(True),
    "recipe_trains_what_learns_under_every_protocol": lambda method: method.ctx.requires_grad_(False),
    "same_seed_gives_same_weights_and_leaves_global_generators__dropout": drop_logits_in_training,
    "same_seed_gives_same_weights_and_leaves_global_generators__seeds": lambda method: random.seed(1),
    "same_seed_gives_same_weights_and_leaves_global_generators__start": lambda method: method.ctx.data.add_(
        random.SystemRandom().random()
    ),
    "loss_terms_sum_to_total": replaces("loss", double_the_total),
    "loss_terms_sum_to_total__not_scalar": replaces(
        "loss", lambda method, loss, *given: Losses({name: term[None] for name, term in loss(*given).terms.items()})
    ),
    "scaled_losses_give_scaled_gradients": replaces(
        "backward", lambda method, backward, losses: (backward(losses), method.ctx.grad.clamp_(-1e-3, 1e-3))
    ),
    "seeds_in_one_pass_learn_what_each_learns_alone": replaces(
        "encode_classes", lambda method, encode, context: unit(encode(context) + 0.1)
    ),
    "memory_does_not_grow_over_steps": keep_all_losses,
    "memory_does_not_grow_over_steps__one_tensor": lengthen_a_tensor,
    "learnables_stay_float32_under_autocast": logits(
        lambda images, logits: logits.bfloat16() if torch.is_autocast_enabled("cpu") else logits
    ),
    "towers_in_half_precision_leave_learnables_in_float32": sets(
        "ctx", lambda method: nn.Parameter(method.ctx.to(method.clip.dtype))
    ),
    "logits_follow_the_precision_in_force": remember_text(lambda method: method.ctx.sum().item()),
}
