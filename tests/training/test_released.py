"""Files of learned values: what is read from them, and that nothing in them is executed."""

import os

import pytest
import safetensors.torch
import torch

from benchmark.errors import ConfigError
from benchmark.training.released import read_released
from tests.helpers.dassl import save_checkpoint

CONTEXT = {"ctx": torch.linspace(-1, 1, 4 * 128).reshape(4, 128)}


@pytest.fixture
def saved(tmp_path, clip):
    """saved(learned, **how): the path of a checkpoint in the toolbox's form."""
    return lambda learned=CONTEXT, *, classes=5, **how: save_checkpoint(
        tmp_path / "model.pth.tar-50", learned, clip, classes=classes, **how
    )


@pytest.mark.parametrize("prefix", ["", "prompt_learner.", "module.prompt_learner.", "prompt_learner.module."])
def test_learned_values_are_found_under_any_prefix(saved, prefix):
    found = read_released(saved(prefix=prefix, dtype=torch.float32))
    assert found.tensors.keys() == {"ctx"}
    assert torch.equal(found.tensors["ctx"], CONTEXT["ctx"])
    assert (found.classes, found.start.shape) == (5, (128,))


def test_other_forms_of_a_checkpoint_are_read(saved, tmp_path):
    path, half = saved(), {"ctx": CONTEXT["ctx"].half().float()}
    safetensors.torch.save_file(half, tmp_path / "half.safetensors")
    digest = read_released(tmp_path / "half.safetensors").digest
    assert read_released(path).digest == digest
    torch.save(torch.load(path, weights_only=False), path, _use_new_zipfile_serialization=False)  # before torch 1.6
    assert read_released(path).digest == digest
    torch.save(half, tmp_path / "ctx.pt")
    assert read_released(tmp_path / "ctx.pt").digest == digest
    larger = {"prompt_learner.ctx": half["ctx"], "image_encoder.proj": torch.ones(3)}
    assert read_released(saved(state_dict=larger)).digest == digest
    for other in ({"ctx": half["ctx"] + 1}, {"cty": half["ctx"]}, {"ctx": half["ctx"].reshape(8, 64)}):
        torch.save(other, path)
        assert read_released(path).digest != digest


def test_saved_parameter_is_read_as_its_values(saved):
    own = {"ctx": torch.nn.Parameter(CONTEXT["ctx"])}
    assert read_released(saved(state_dict=own)).digest == read_released(saved(state_dict=CONTEXT)).digest


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (CONTEXT["ctx"].to_sparse(), "'ctx' is sparse"),
        (CONTEXT["ctx"].to("meta"), "'ctx' has no values"),
        (CONTEXT["ctx"].cfloat(), "'ctx' is of type complex64"),
        (CONTEXT["ctx"].int(), "'ctx' is of type int32"),
    ],
)
def test_tensor_without_ordinary_numbers_is_refused(saved, tensor, reason):
    with pytest.raises(ConfigError, match=rf"(?s){reason}.*Save its values as ordinary floating-point numbers"):
        read_released(saved(state_dict={"ctx": tensor}))


NETWORK = {"meta_net.linear1.weight": torch.ones(8, 8), "meta_net.linear1.bias": torch.ones(8)}
SECOND = {"meta_net.linear2.weight": torch.ones(8, 8)}


@pytest.mark.parametrize(
    ("unused", "used"),
    [
        ({"bias_vectors": torch.ones(1, 512), **NETWORK}, {}),
        ({"bias_vectors": torch.ones(1, 512)}, NETWORK | SECOND),
        ({}, NETWORK),
    ],
    ids=["KgCoOp", "TCP", "another method"],
)
@pytest.mark.parametrize("prefix", ["", "prompt_learner."])
def test_tensors_that_their_own_code_never_uses_are_dropped(saved, unused, used, prefix):
    middle = {"token_midfix": torch.ones(5, 4, 128)}
    found = read_released(saved(CONTEXT | unused | used | middle, prefix=prefix))
    assert found.tensors.keys() == {"ctx", *used}
    assert set(found.dropped) == unused.keys()
    assert found.digest == read_released(saved(CONTEXT | used)).digest


@pytest.mark.parametrize("shape, n_ctx, class_specific", [((4, 128), 4, False), ((5, 16, 128), 16, True)])
def test_options_follow_from_the_shape_of_the_context(saved, shape, n_ctx, class_specific):
    found = read_released(saved({"ctx": torch.ones(shape)}))
    known = {"n_ctx": n_ctx, "class_specific": class_specific}
    assert found.options(("n_ctx", "class_specific", "ctx_init")) == known
    assert found.options(("n_ctx",)) == {"n_ctx": n_ctx}


class Attack:
    """Its pickle asks for a function to be called on loading."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("where", ["state_dict", "optimizer", "scheduler", "epoch"])
@pytest.mark.parametrize("function", [os.system, eval, exec, print])
def test_program_in_a_checkpoint_is_named_and_never_executed(saved, tmp_path, where, function, capsys):
    ran = tmp_path / "ran"
    order = f"touch {ran}" if function is os.system else f"open({str(ran)!r}, 'w')"
    path = saved(**{where: Attack(function, order)})
    with pytest.raises(ConfigError, match=rf"more than tensors .*{function.__name__}.*nothing in it was executed"):
        read_released(path)
    assert not ran.exists()
    assert str(ran) not in capsys.readouterr().out


def test_advice_for_a_refused_file_makes_a_readable_one(saved, tmp_path, monkeypatch):
    path = saved(scheduler=Attack(os.getenv, "HOME"))
    with pytest.raises(ConfigError) as caught:
        read_released(path)
    command = str(caught.value).split('python -c "')[1].split('"')[0]
    path.rename(tmp_path / "OLD")
    monkeypatch.chdir(tmp_path)
    exec(command, {})
    assert torch.equal(read_released(tmp_path / "NEW").tensors["ctx"], CONTEXT["ctx"].half().float())


PREFIX, SUFFIX = torch.ones(5, 1, 128), torch.ones(6, 72, 128)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"ctx": torch.full((4, 128), float("nan"))}, "'ctx' holds values that are not finite"),
        ({**CONTEXT, "token_prefix": torch.ones(5, 2, 128)}, r"'token_prefix' has shape \(5, 2, 128\)"),
        ({**CONTEXT, "token_suffix": torch.ones(5, 60, 128)}, r"must have \(classes, 72, 128\)"),
        ({**CONTEXT, "token_prefix": PREFIX, "token_suffix": SUFFIX}, "its tensors are of 5 and 6 classes"),
        ({"token_prefix": PREFIX}, "it holds no learned values"),
        ({**CONTEXT, "note": "hello"}, "note in it are not tensors. Save the tensors by name"),
        ("nothing", "holds no 'state_dict'"),
    ],
    ids=["nan", "prefix", "suffix", "classes", "nothing learned", "text", "no dictionary"],
)
def test_checkpoint_with_wrong_tensors_is_refused_with_the_reason(saved, state, reason):
    with pytest.raises(ConfigError, match=reason):
        read_released(saved(state_dict=state))


@pytest.mark.parametrize(
    "content", [b"hello", b"ctx init\nabc", b"version https://git-lfs.github.com/spec/v1\n", b"<html>", b"\x1f\x8b\x08"]
)
def test_file_of_another_kind_is_refused_by_what_it_starts_with(tmp_path, content):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_released(path)
    start = f"text.txt: is neither a checkpoint of torch nor safetensors; it starts with {content[:24]!r}. Give a check"
    assert start in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b'{"train": []}', b"PK\x03\x04 cut", b"\x80\x02}q", b"\x10\0\0\0\0\0\0\0{bad json", None],
)
def test_damaged_file_is_refused_by_name_and_without_the_advice_to_execute_it(tmp_path, content):
    path = tmp_path / "model.pth.tar-50"
    if content is None:
        safetensors.torch.save_file(CONTEXT, path, metadata={"options": "{"})
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.pth\.tar-50") as caught:
        read_released(path)
    assert "weights_only" not in str(caught.value)
    assert "\n" not in str(caught.value)
