"""Names, recipes and options: what a run is made of before anything runs."""

import pytest
import torch

from benchmark.common.constants import IMAGENET_TEMPLATES, SHOTS
from benchmark.errors import ConfigError
from benchmark.plugins.factory import create_method, method_class, method_names, resolve_recipe

PAPER = ["cocoop", "coop", "copl", "kgcoop", "prograd", "zero_shot"]
PROTOCOLS_THAT_TRANSFER = ("cross_dataset", "domain_generalization")
NAMES, TEMPLATE = ["circle", "square", "star"], "a photo of a {}."


def make(clip, name, **config):
    return create_method(name, clip=clip, class_names=NAMES, template=TEMPLATE, config=config)


def recipe(name, *layers, **run):
    return resolve_recipe(name, layers, template=TEMPLATE, **run)


def test_registry_holds_the_six_methods_of_the_paper():
    assert set(PAPER) <= set(method_names())


@pytest.mark.parametrize("name", PAPER)
def test_every_recipe_resolves_for_every_protocol_and_shot_count(name):
    for protocol in ("base2new", "cross_dataset", "few_shot", "domain_generalization"):
        for shots in (1, 2, 4, 8, 16):
            for dataset in ("imagenet", "dtd", "caltech101"):
                resolved = recipe(name, protocol=protocol, shots=shots, dataset=dataset)
                assert (resolved.training is None) == (name == "zero_shot")


def test_unknown_method_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'cocoop'"):
        method_class("cocop")


def test_unknown_option_names_the_nearest(clip):
    with pytest.raises(ConfigError, match=r"kgcoop: 'n_ctxx' is not an option. Did you mean 'n_ctx'"):
        make(clip, "kgcoop", n_ctxx=4)


def test_unknown_option_in_capitals_names_the_nearest(clip):
    with pytest.raises(ConfigError, match="Did you mean 'ctx_init'"):
        make(clip, "coop", CTX_INIT="a photo of a")


def test_keys_that_are_no_text_are_refused_like_others(clip):
    with pytest.raises(ConfigError, match="'1' is not an option"):
        create_method("coop", clip=clip, class_names=NAMES, template=TEMPLATE, config={1: 2, "a": 3})


@pytest.mark.parametrize("name", ["coop", "cocoop", "kgcoop", "prograd", "copl"])
def test_empty_words_are_refused_by_their_own_name(clip, name):
    with pytest.raises(ConfigError, match="ctx_init is empty"):
        make(clip, name, ctx_init="")


@pytest.mark.parametrize("name", ["coop", "cocoop", "kgcoop", "prograd", "copl"])
def test_underscores_in_words_are_blanks_as_in_the_authors_files(clip, name):
    one, other = make(clip, name, ctx_init="a_photo_of_a"), make(clip, name, ctx_init="a photo of a")
    assert torch.equal(one.learned_state()["ctx"], other.learned_state()["ctx"])


def test_option_of_wrong_type_is_refused(clip):
    with pytest.raises(ConfigError, match="n_ctx"):
        make(clip, "coop", n_ctx="four")


@pytest.mark.parametrize(
    "run, epochs",
    [
        ({"protocol": "base2new", "dataset": "dtd", "shots": 16}, 200),
        ({"protocol": "base2new", "dataset": "imagenet", "shots": 16}, 50),
        ({"protocol": "cross_dataset", "dataset": "caltech101", "shots": 16}, 50),
        ({"protocol": "domain_generalization", "dataset": "synth_objects", "shots": 16}, 50),
        ({"protocol": "few_shot", "dataset": "dtd", "shots": 1}, 50),
        ({"protocol": "few_shot", "dataset": "dtd", "shots": 4}, 100),
        ({"protocol": "few_shot", "dataset": "dtd", "shots": 16}, 200),
        ({"protocol": "few_shot", "dataset": "imagenet", "shots": 4}, 50),
    ],
)
def test_coop_trains_as_long_as_its_authors_did(run, epochs):
    assert recipe("coop", **run).training.epochs == epochs


@pytest.mark.parametrize(
    "name, epochs",
    [("coop", [50, 100, 100, 200, 200]), ("cocoop", [10] * 5), ("kgcoop", [100] * 5),
     ("prograd", [50, 100, 100, 200, 200]), ("copl", [10] * 5)],
)  # fmt: skip
def test_few_shot_recipes_follow_the_number_of_shots(name, epochs):
    assert [recipe(name, protocol="few_shot", shots=k, dataset="dtd").training.epochs for k in SHOTS] == epochs
    on_imagenet = {recipe(name, protocol="few_shot", shots=k, dataset="imagenet").training.epochs for k in SHOTS}
    assert on_imagenet == ({50} if name in ("coop", "prograd") else {epochs[0]})


@pytest.mark.parametrize("name", ["coop", "cocoop", "kgcoop", "prograd", "copl"])
def test_both_transfers_train_alike(name):
    one, other = (recipe(name, protocol=p, dataset="imagenet", shots=16) for p in PROTOCOLS_THAT_TRANSFER)
    assert one == other


def test_few_shot_coop_starts_from_sixteen_random_vectors():
    options = recipe("coop", protocol="few_shot", dataset="dtd", shots=16).options
    assert (options["n_ctx"], options["ctx_init"]) == (16, None)


def test_prograd_removes_less_on_three_datasets_with_many_shots():
    for dataset, shots, removed in [("dtd", 16, 0.8), ("dtd", 4, 1.0), ("caltech101", 16, 1.0), ("eurosat", 8, 0.8)]:
        assert recipe("prograd", dataset=dataset, shots=shots).options["projection"] == removed


def test_recipe_overrides_the_template_of_a_dataset():
    assert recipe("prograd", dataset="dtd").template == "a texture of {}."
    assert recipe("kgcoop", dataset="dtd").template == "a photo of a {}, a type of texture."
    assert recipe("coop", dataset="dtd").template == TEMPLATE


def test_later_layer_wins():
    assert recipe("cocoop", {"epochs": 3}, {"epochs": 2}).training.epochs == 2


def test_ensemble_stands_for_the_seven_templates_and_the_datasets_own_except_on_imagenet():
    wanted = {"templates": "ensemble"}
    assert recipe("zero_shot", wanted, dataset="dtd").options["templates"] == (*IMAGENET_TEMPLATES, TEMPLATE)
    assert recipe("zero_shot", wanted, dataset="imagenet").options["templates"] == IMAGENET_TEMPLATES


def test_words_for_lists_of_templates_are_the_same_for_every_dataset():
    for dataset in ("dtd", "imagenet"):
        for word, wanted in (("selected", IMAGENET_TEMPLATES), ("selected_and_own", (*IMAGENET_TEMPLATES, TEMPLATE))):
            assert recipe("zero_shot", {"templates": word}, dataset=dataset).options["templates"] == wanted
    with pytest.raises(ConfigError, match="templates"):
        recipe("zero_shot", {"templates": "slected"})


@pytest.mark.parametrize("name", ["coop", "cocoop", "kgcoop", "copl"])
def test_given_length_overrules_default_words_and_the_reverse(clip, name):
    assert make(clip, name, n_ctx=8).ctx.shape[0] == 8
    assert make(clip, name, n_ctx=8).options.ctx_init is None
    assert make(clip, name, n_ctx=4).options.ctx_init == "a photo of a"
    assert make(clip, name, ctx_init="a photo").ctx.shape[0] == 2
    assert make(clip, name, ctx_init=None).ctx.shape[0] == 4


@pytest.mark.parametrize("name", ["coop", "cocoop", "kgcoop", "copl"])
def test_given_length_and_words_that_disagree_are_refused(clip, name):
    with pytest.raises(ConfigError, match="has 2 words, but n_ctx is 4"):
        make(clip, name, n_ctx=4, ctx_init="a photo")


def test_training_settings_are_no_options_of_a_method(clip):
    with pytest.raises(ConfigError, match="'epochs' is not an option"):
        make(clip, "coop", epochs=3)
    assert recipe("coop", {"epochs": 3}).training.epochs == 3
