"""Recipes and options of methods by name."""

import pytest
import torch

from benchmark.common.constants import IMAGENET_TEMPLATES, SHOTS
from benchmark.errors import ConfigError
from benchmark.plugins.discovery import method_names, repository_names
from benchmark.plugins.factory import create_method
from benchmark.plugins.importer import method_class
from benchmark.plugins.recipes import option_problems, read_recipe, resolve_recipe

LEARNING = ["cocoop", "coop", "copl", "kgcoop", "prograd"]
PROTOCOLS_THAT_TRANSFER = ("cross_dataset", "domain_generalization")
NAMES, TEMPLATE = ["circle", "square", "star"], "a photo of a {}."


def make(clip, name, **config):
    return create_method(name, clip=clip, class_names=NAMES, template=TEMPLATE, config=config)


def recipe(name, *layers, **run):
    return resolve_recipe(name, layers, template=TEMPLATE, **run)


def test_unknown_method_is_refused_with_the_nearest():
    assert {*LEARNING, "zero_shot"} <= set(method_names())
    with pytest.raises(ConfigError, match="Did you mean 'cocoop'"):
        method_class("cocop")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"n_ctxx": 4}, "coop: 'n_ctxx' is not an option. Did you mean 'n_ctx'"),
        ({"CTX_INIT": "a"}, "Did you mean 'ctx_init'"),
        ({1: 2, "a": 3}, "'1' is not an option"),
        ({"n_ctx": "four"}, "'n_ctx' must be an integer, got 'four'"),
        ({"epochs": 3}, "'epochs' is not an option"),
    ],
)
def test_wrong_option_is_refused(clip, config, message):
    with pytest.raises(ConfigError, match=message):
        create_method("coop", clip=clip, class_names=NAMES, template=TEMPLATE, config=config)


def test_names_of_options_are_checked_without_importing_the_method(monkeypatch):
    for name in repository_names():  # a recipe gives every option a value, so it names them all
        assert set(method_class(name).option_names()) <= (read_recipe(name).defaults or {}).keys()
    monkeypatch.setattr("benchmark.plugins.importer.method_class", None)
    assert option_problems("coop", {"n_ctx": 2, "epochs": 3, "template": "a {}."}) == []
    assert option_problems("mine", {"anything": 1}) == []
    assert "zero_shot, which trains nothing: 'epochs' is not" in option_problems("zero_shot", {"epochs": 2})[0]
    assert option_problems("tip_adapter_f", {"epochs": 2}) == []
    (problem,) = option_problems("coop", {"n_ctxx": 2})
    assert "coop: 'n_ctxx' is not an option. Did you mean 'n_ctx'" in problem
    for key in ("epochs", "n_ctx"):
        (problem,) = option_problems("coop", {key: "two"})
        assert f"'{key}' must be" in problem


@pytest.mark.parametrize("name", LEARNING)
def test_words_of_the_context_are_read_as_in_the_authors_files(clip, name):
    for word in ("", " None", "NULL", "nil", "N/A", "-", "<NA>", "<none>", "random"):
        with pytest.raises(ConfigError, match=rf"'ctx_init' is the text '{word}'; for nothing, write null"):
            make(clip, name, ctx_init=word)
    with pytest.raises(ConfigError, match=r"has {}; give the words before the class name alone"):
        make(clip, name, ctx_init="a photo of a {}")
    one, other = make(clip, name, ctx_init="a_photo_of_a"), make(clip, name, ctx_init="a photo of a")
    assert torch.equal(one.learned_state()["ctx"], other.learned_state()["ctx"])


@pytest.mark.parametrize("template", [None, {}, {0: None}, 7])
def test_template_that_is_no_text_is_refused_with_how_to_write_it(template):
    with pytest.raises(ConfigError, match=r"zero_shot: template is .*, not text\. Give text with {}"):
        resolve_recipe("zero_shot", [{"template": template}], template="a {}.")


@pytest.mark.parametrize(("dataset", "shots", "epochs"), [("dtd", 16, 200), ("imagenet", 16, 50), ("imagenet", 1, 50)])
def test_coop_trains_as_long_as_its_authors_did(dataset, shots, epochs):
    assert recipe("coop", dataset=dataset, shots=shots).training.epochs == epochs
    options = recipe("coop", protocol="few_shot", dataset=dataset, shots=shots).options
    assert (options["n_ctx"], options["ctx_init"]) == (16, None)
    for protocol in PROTOCOLS_THAT_TRANSFER:
        assert recipe("coop", protocol=protocol, dataset="caltech101", shots=shots).training.epochs == 50


@pytest.mark.parametrize(
    ("name", "epochs"),
    [("coop", [50, 100, 100, 200, 200]), ("cocoop", [10] * 5), ("kgcoop", [100] * 5),
     ("prograd", [50, 100, 100, 200, 200]), ("copl", [10] * 5)],
)  # fmt: skip
def test_few_shot_recipes_follow_the_number_of_shots_and_both_transfers_train_alike(name, epochs):
    assert [recipe(name, protocol="few_shot", shots=k, dataset="dtd").training.epochs for k in SHOTS] == epochs
    on_imagenet = {recipe(name, protocol="few_shot", shots=k, dataset="imagenet").training.epochs for k in SHOTS}
    assert on_imagenet == ({50} if name in ("coop", "prograd") else {epochs[0]})
    one, other = (recipe(name, protocol=p, dataset="imagenet", shots=16) for p in PROTOCOLS_THAT_TRANSFER)
    assert one == other


def test_prograd_projects_less_on_three_datasets_with_many_shots():
    for dataset, shots, removed in [("dtd", 16, 0.8), ("dtd", 4, 1.0), ("caltech101", 16, 1.0), ("eurosat", 8, 0.8)]:
        assert recipe("prograd", dataset=dataset, shots=shots).options["projection"] == removed


def test_recipe_overrides_the_template_of_a_dataset():
    assert recipe("prograd", dataset="dtd").template == "a texture of {}."
    assert recipe("kgcoop", dataset="dtd").template == "a photo of a {}, a type of texture."
    assert recipe("coop", dataset="dtd").template == TEMPLATE


@pytest.mark.parametrize(
    ("name", "run", "options", "training"),
    [
        ("maple", {}, {"n_ctx": 2, "depth": 9}, {"epochs": 5, "batch_size": 4, "learning_rate": 0.0035}),
        ("maple", {"protocol": "cross_dataset"}, {"depth": 3}, {"epochs": 2, "learning_rate": 0.0026}),
        ("promptsrc", {}, {"gpa_mean": 15, "gpa_std": 1, "text_weight": 25}, {"epochs": 20, "learning_rate": 0.0025}),
        ("promptsrc", {"protocol": "domain_generalization"}, {"depth_vision": 3, "gpa_mean": 6}, {"epochs": 20}),
        ("promptsrc", {"protocol": "few_shot", "dataset": "food101"}, {"gpa_mean": 30, "gpa_std": 30}, {"epochs": 50}),
        ("promptsrc", {"protocol": "few_shot", "dataset": "dtd"}, {"gpa_mean": 45, "gpa_std": 5}, {"epochs": 50}),
        ("tcp", {"dataset": "oxford_pets"}, {"prompt_template": None, "frozen_template": None}, {"epsilon": 1e-3}),
        ("tcp", {"dataset": "stanford_cars"}, {"prompt_template": "{}, a type of car"}, {"epochs": 50}),
        ("tcp", {"dataset": "dtd"}, {"prompt_template": "{} texture."}, {"warmup_epochs": 1}),
        ("tcp", {"dataset": "dtd", "protocol": "cross_dataset"}, {"prompt_template": None}, {"epochs": 50}),
        ("tcp", {"dataset": "sun397"}, {"layer": 8}, {"epochs": 25, "optimizer": "adam"}),
        ("mma", {"dataset": "imagenet"}, {"first": 5, "last": 12}, {"batch_size": 128, "warmup_epochs": 0}),
        ("mmrl", {"dataset": "eurosat"}, {"regularisation": 0.01, "dim": 2048}, {"epochs": 10, "smallest_crop": 0.5}),
        ("mmrl", {"dataset": "dtd", "protocol": "few_shot"}, {"regularisation": 6}, {"epochs": 50, "batch_size": 32}),
        ("mmrl", {"dataset": "imagenet", "protocol": "few_shot"}, {"regularisation": 0.5}, {"epochs": 5}),
        ("mmrl", {"dataset": "eurosat", "protocol": "cross_dataset"}, {"regularisation": 0.2, "dim": 512},
         {"epochs": 1, "batch_size": 32, "warmup_epochs": 0}),
        ("mmrl", {"dataset": "mine"}, {"regularisation": 1.0}, {"batch_size": 4, "optimizer": "adamw"}),
    ],
)  # fmt: skip
def test_recipes_of_methods_inside_the_towers_are_their_authors(name, run, options, training):
    found = recipe(name, **run)
    assert found.options == found.options | options
    assert vars(found.training) == vars(found.training) | training


def test_later_layer_wins():
    assert recipe("cocoop", {"epochs": 3}, {"epochs": 2}).training.epochs == 2


def test_words_for_lists_of_templates():
    both = (*IMAGENET_TEMPLATES, TEMPLATE)
    for dataset in ("dtd", "imagenet"):
        ensemble = IMAGENET_TEMPLATES if dataset == "imagenet" else both
        for word, wanted in (("selected", IMAGENET_TEMPLATES), ("selected_and_own", both), ("ensemble", ensemble)):
            assert recipe("zero_shot", {"templates": word}, dataset=dataset).options["templates"] == wanted
    with pytest.raises(ConfigError, match="templates"):
        recipe("zero_shot", {"templates": "slected"})


@pytest.mark.parametrize("name", ["coop", "cocoop", "kgcoop", "copl"])
def test_given_length_replaces_default_words_and_the_reverse(clip, name):
    assert make(clip, name, n_ctx=8).ctx.shape[0] == 8
    assert make(clip, name, n_ctx=8).options.ctx_init is None
    assert make(clip, name, n_ctx=4).options.ctx_init == "a photo of a"
    assert make(clip, name, ctx_init="a photo").ctx.shape[0] == 2
    assert make(clip, name, ctx_init=None).ctx.shape[0] == 4
    with pytest.raises(ConfigError, match="has 2 words, but n_ctx is 4"):
        make(clip, name, n_ctx=4, ctx_init="a photo")
