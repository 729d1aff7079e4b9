"""Files of learned values: what is read from them, and that nothing in them is executed."""

import os

import pytest
import safetensors.torch
import torch

from benchmark.errors import ConfigError
from benchmark.plugins.factory import create_method
from benchmark.plugins.importer import method_class
from benchmark.training.checkpoint_names import own_names
from benchmark.training.released import POSITION, START, read_released
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
    assert (found.classes, found.backbone[START].shape) == (5, (128,))


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


TOWERS = {  # golden -> what its file shows of the options
    "maple_d3": {"n_ctx": 2, "depth": 3},
    "promptsrc_t3v3": {"n_ctx": 4, "n_ctx_vision": 4, "depth": 3, "depth_vision": 3},
    "tcp_random": {"n_ctx": 4},
    "mma_s1": {"first": 2, "last": 3, "dim": 16},
    "mmrl": {"n_tokens": 5, "dim": 32},
}


@pytest.mark.golden
@pytest.mark.parametrize("case", TOWERS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_learned_tensors_of_methods_inside_the_towers_are_taken_out_of_the_whole_model(
    golden, golden_clip, tmp_path, case, prefix
):
    tensors, manifest = golden(case)
    name, names = case.partition("_")[0], manifest["classnames"]
    theirs = {key.removeprefix("init."): value for key, value in tensors.items() if key.startswith("init.")}
    prompts = golden_clip.text.embed(torch.full((7, 77), golden_clip.text.start_id))  # (C, 77, T)
    fixed = {
        "mma": {"adapter_learner.token_embedding": prompts, "adapter_learner.tokenized_prompts": torch.ones(7, 77)},
        "mmrl": {},
    }.get(name, {"prompt_learner.token_prefix": prompts[:, :1]})
    clip = {"text_encoder.positional_embedding": golden_clip.text.positions.detach(), "logit_scale": torch.ones(())}
    copies = {"image_encoder.conv1.weight": torch.ones(2, 2), "prompt_learner.ZS_image_encoder.proj": torch.ones(2)}
    files = {"partial": theirs | fixed, "whole": theirs | fixed | clip | copies}
    found = {}
    for kind, state in files.items():
        torch.save({"state_dict": {prefix + key: value for key, value in state.items()}}, tmp_path / kind)
        found[kind] = read_released(tmp_path / kind)
    assert found["partial"].digest == found["whole"].digest
    assert (found["partial"].frozen, found["whole"].frozen) == (0, 4)
    assert found["whole"].backbone.keys() == ({POSITION} if name == "mmrl" else {START, POSITION})
    assert found["whole"].classes == (None if name == "mmrl" else 7)
    known = found["whole"].options(method_class(name).option_names())
    assert known == TOWERS[case]
    hidden = {"tcp": {"layer": 1}, "mma": {"scale": 0.1}, "mmrl": {"first": 2, "last": 3}}  # what no file shows
    method = create_method(
        name,
        clip=golden_clip,
        class_names=names,
        template="a photo of a {}, a type of pet.",
        config=known | hidden.get(name, {}),
    )
    method.load_learned_state(found["whole"].tensors)
    images = golden_clip.encode_images(tensors["pixel_values"], method.needs_patches)
    with torch.no_grad():
        assert (method(images) - tensors["logits_eval_init"]).abs().max() < 2e-4


def test_tensors_inside_the_towers_are_named_without_a_learner_in_the_file_too():
    blocks = "encoder.transformer.resblocks."
    names = ["module.ctx", "logit_scale", "image_encoder.VPT", f"text_{blocks}2.VPT_shallow"]
    names += [f"image_{blocks}1.VPT_shallow", f"image_{blocks}1.ln_1.bias"]
    assert own_names(names) == {
        "module.ctx": "ctx",
        "image_encoder.VPT": "vision_prompts.0",
        f"text_{blocks}2.VPT_shallow": "text_prompts.2",
        f"image_{blocks}1.VPT_shallow": "vision_prompts.1",
    }


@pytest.mark.parametrize(
    ("state", "options"),
    [
        ({"shared_adapter.3.0.bias": torch.ones(4)}, {"first": 3, "last": 3}),
        ({"vision_prompts.0": torch.ones(())}, {"depth": 1, "depth_vision": 1}),
        ({"compound_rep_tokens": torch.ones(3)}, {}),
        ({"x": torch.ones(2), "token_embedding": torch.ones(()), "text_encoder.positional_embedding": "?"}, {}),
    ],
    ids=["adapter", "prompt", "tokens", "fixed"],
)
def test_tensors_of_unexpected_forms_show_no_options(saved, state, options):
    found = read_released(saved(state_dict=state))
    assert found.options(("first", "last", "dim", "depth", "depth_vision", "n_ctx_vision", "n_tokens")) == options
    assert (found.classes, found.backbone) == (None, {})


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
