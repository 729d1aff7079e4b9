"""Check class names: they are data, accepted or refused as a whole, in any order."""

import torch

from benchmark.errors import ConfigError
from benchmark.method import Method
from tests.conformance.subject import NAMES, OTHERS, TEMPLATE, Subject, differ, images_for, logits_of, refusal, train

ORDER = [3, 1, 4, 0, 2]


def check_set_classes_there_and_back_changes_nothing(subject: Subject) -> None:
    """Scoring other classes in between changes nothing, because one training scores several class sets."""
    method = train(subject.make())
    before, names = logits_of(method), OTHERS if method.transfers else NAMES[::-2]
    method.set_classes(names, "a {}.")
    between = logits_of(method)
    assert between.shape[1] == len(names), f"{len(names)} classes were set, and the logits have {between.shape[1]}."
    method.set_classes(NAMES, TEMPLATE)
    assert torch.equal(before, logits_of(method)), "back at its first classes, the method has other logits than before."


def check_other_classes_are_taken_or_refused_as_declared(subject: Subject) -> None:
    """With `transfers` True any classes can be scored; with False, only trained ones.

    The harness plans by it: otherwise a table would hold scores of classes for which nothing was learned.
    """
    method = train(subject.make())
    before = logits_of(method)
    for names in (OTHERS, (NAMES[0], "dots")):
        refused = refusal(lambda names=names: method.set_classes(names, TEMPLATE))
        if method.transfers:
            assert not refused, f"transfers is True, but set_classes refused {', '.join(names)}: {refused}"
            found, wanted = tuple(logits_of(method).shape), (len(before), len(names))
            assert found == wanted, f"for {len(names)} other classes the logits have shape {found}, not {wanted}."
        else:
            assert isinstance(refused, ConfigError), (
                f"transfers is False, but set_classes accepted {', '.join(names)}, of which 'dots' was not trained."
            )
            _assert_as_before(method, before, f"after {', '.join(names)} were refused")


def check_refused_classes_leave_the_method_as_it_was(subject: Subject) -> None:
    """A class set is accepted or refused as a whole, because a mix of two would be scored silently.

    No classes, names that are not strings and a template without exactly one {} are refused with a BenchmarkError.
    """
    method = train(subject.make())
    before = logits_of(method)
    wrong = ([], TEMPLATE), ("dog", TEMPLATE), ([3], TEMPLATE), (NAMES, "a photo."), (NAMES, "{} or {}.")
    for names, template in wrong:
        refused = refusal(lambda pair=(names, template): method.set_classes(*pair))
        assert refused, f"set_classes accepted the classes {names!r} with the template {template!r}."
        _assert_as_before(method, before, f"after the classes {names!r} with the template {template!r} were refused")
    too_long = (["very " * 80], TEMPLATE), (NAMES, "a photo of " + "very " * 80 + "{}.")  # not all methods use both
    for names, template in too_long:
        if refusal(lambda pair=(names, template): method.set_classes(*pair)):
            _assert_as_before(method, before, "after a text that is too long for the text encoder was refused")
        else:
            method.set_classes(NAMES, TEMPLATE)


def check_braces_in_a_template_are_text(subject: Subject) -> None:
    """Only {} is replaced by the name; names and templates are not format strings, because datasets contain braces."""
    names = ("{x}", "a {0} b")
    logits = logits_of(subject.make(names=names, template="a {y} of {}."))
    assert logits.shape[1] == len(names), f"for the classes {names} the logits have {logits.shape[1]} columns."


def check_class_order_permutes_logits(subject: Subject) -> None:
    """The order of the classes carries no information, so another order gives the same logits in that order."""
    method = train(subject.make())
    before = logits_of(method)
    method.set_classes([NAMES[c] for c in ORDER], TEMPLATE)
    after = logits_of(method)
    assert not differ(before[:, ORDER], after), (
        f"with the classes in the order {ORDER} the logits are not those of before in that order; they differ by up "
        f"to {(before[:, ORDER] - after).abs().max():.3g}."
    )


def _assert_as_before(method: Method, before: torch.Tensor, when: str) -> None:
    assert method.class_names == NAMES, f"{when}, class_names is {method.class_names}."
    found = len(images_for(method)), len(NAMES)
    assert logits_of(method).shape == found, f"{when}, the logits have another shape than {found}."
    assert torch.equal(logits_of(method), before), f"{when}, the logits are others than before."
