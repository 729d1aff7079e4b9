"""The three protocols beside base-to-new from end to end: on the embedded suite and on real photographs."""

import shutil

import pytest

import run_all
from benchmark.cli.arguments import make_request
from benchmark.data.synthetic.suite import SHIFTED
from benchmark.planning.plan import make_plan
from benchmark.records.store import collect

pytestmark = pytest.mark.slow  # end to end

ONE = ["--seeds", "1", "--shots", "1"]
QUICK = ["--set", "copl.epochs=1", "--set", "coop.epochs=2", "--set", "prograd.epochs=1", "--set", "kgcoop.epochs=1"]


@pytest.fixture
def call(tmp_path):
    """call("few_shot", ...): the exit code of the main command for a protocol, records below tmp_path/out."""

    def run(protocol, *arguments):
        return run_all.main(["--protocol", protocol, "--out", str(tmp_path / "out"), *arguments])

    return run


@pytest.fixture
def recorded(tmp_path):
    """recorded(): method and shots to the record, of one dataset trained on."""

    def read():
        records, problems = collect(tmp_path / "out")
        assert problems == []
        return {(record.spec.method, record.spec.shots): record for record in records}

    return read


def classes(record):
    return {name: score.classes for name, score in record.scores.items()}


def plan_of(*arguments):
    return make_plan(make_request(run_all.parse(list(arguments))), fetch=False)


def test_cross_dataset_scores_source_and_targets_by_one_training(call, recorded, capsys):
    names = ["--datasets", "synth_actions", "synth_things", "synth_aircraft"]
    assert call("cross_dataset", *names, *ONE, *QUICK, "--methods", "zero_shot", "coop", "copl") == 0
    records = recorded()
    assert {method for method, _ in records} == {"zero_shot", "coop", "copl"}
    for record in records.values():
        assert record.spec.dataset == "synth_things"
        assert list(record.scores) == ["synth_things", "synth_actions", "synth_aircraft"]
        assert classes(record) == {"synth_things": 10, "synth_actions": 8, "synth_aircraft": 8}
        assert record.spec.targets.keys() == record.provenance["targets_split_sha256"].keys()
    assert records["copl", 1].training["steps"] == 10
    zero_shot = records["zero_shot", 1].scores
    assert zero_shot["synth_actions"].correct > 0.5 * zero_shot["synth_actions"].total, "its own names and template"
    assert "synth_things 8" in capsys.readouterr().err


def test_few_shot_runs_every_number_of_shots_on_all_classes(call, recorded):
    names = ["--datasets", "synth_actions", "--seeds", "1", "--shots", "1", "2"]
    assert call("few_shot", *names, *QUICK, "--methods", "zero_shot", "coop", "copl") == 0
    records = recorded()
    assert set(records) == {(method, shots) for method in ("zero_shot", "coop", "copl") for shots in (1, 2)}
    assert all(classes(record) == {"all": 8} for record in records.values())
    assert [records["copl", shots].training["steps"] for shots in (1, 2)] == [8, 16]
    assert records["coop", 1].spec.options["n_ctx"] == 16, "the recipe of few-shot, not of base-to-new"


def test_domain_generalization_carries_a_training_to_sets_of_half_the_classes(call, recorded):
    assert call("domain_generalization", *ONE, *QUICK, "--methods", "zero_shot", "prograd", "--processes", "1") == 0
    records = recorded()
    for record in records.values():
        assert list(record.scores) == ["synth_objects", *SHIFTED]
        assert list(classes(record).values()) == [12, 12, 12, 6, 6]
    assert records["prograd", 1].training["steps"] == 1
    assert records["zero_shot", 1].scores["synth_objects_sketch"].correct > 600 / 12


def test_targets_are_read_in_the_template_of_the_methods_recipe():
    names = ["--datasets", "synth_textures", "synth_pets"]
    plan = plan_of("--protocol", "cross_dataset", "--seeds", "1", *names, "--methods", "coop", "kgcoop", "prograd")
    targets = {spec.method: spec.targets for spec in plan.specs}
    assert {method: of["synth_textures"] for method, of in targets.items()} == {
        "coop": "{} texture.", "kgcoop": "a photo of a {}, a type of texture.", "prograd": "a texture of {}."
    }  # fmt: skip
    assert targets["prograd"]["synth_pets"] == "a type of pet, a photo of a {}."
    sets = plan.scored_sets(plan.specs[-1])
    assert sets[0][1] == "a photo of a {}."
    assert [scored.name for scored, _ in sets] == ["synth_things", "synth_textures", "synth_pets"]


def test_method_with_another_list_of_templates_on_each_dataset_is_refused_where_one_run_scores_several():
    names = ["--datasets", "synth_textures", "--seeds", "1", "--methods", "zero_shot", "coop", "--shots", "1"]
    plan = plan_of("--protocol", "cross_dataset", *names, "--set", "zero_shot.templates=ensemble")
    assert [spec.method for spec in plan.specs] == ["coop"]
    assert plan.refused[0].startswith("zero_shot: its list of templates is another for each dataset")
    plan = plan_of("--protocol", "few_shot", *names, "--set", "zero_shot.templates=ensemble")
    assert (len(plan.specs), plan.refused) == (2, [])


def test_split_of_a_spec_changes_with_its_targets_and_is_the_datasets_own_without():
    def split(protocol, *names):
        arguments = ["--protocol", protocol, "--seeds", "1", "--methods", "coop", "--shots", "1", "--datasets", *names]
        return plan_of(*arguments).specs[0].split

    own = split("few_shot", "synth_things")
    one, two = split("cross_dataset", "synth_pets"), split("cross_dataset", "synth_pets", "synth_cars")
    assert {text.split("+")[0] for text in (one, two)} == {own}
    assert one != two
    assert split("cross_dataset", "synth_cars", "synth_pets") == two


def test_method_that_cannot_transfer_is_refused_there_and_runs_in_few_shot(call, capsys):
    arguments = ["--datasets", "synth_things", "synth_actions", "--methods", "coop", "zero_shot", *ONE, "--plan"]
    assert call("all", *arguments, "--set", "coop.class_specific=true") == 0
    out = capsys.readouterr().out
    for protocol, runs in (("base2new", "2 runs are"), ("cross_dataset", "run is")):
        assert f"others, which {protocol} asks for: its {runs} left out, the rest goes on" in out
    assert "which few_shot asks for" not in out
    assert "all protocols: 7 runs" in out
    assert "refused: domain_generalization: none of the datasets named is a target of it" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["few_shots"], "'few_shots' is not a protocol. Did you mean 'few_shot'?"),
        (["cross_dataset", "--source", "synth_thing"], "'synth_thing' is not a dataset. Did you mean 'synth_things'?"),
        (["cross_dataset", "--source", "synth_objects_v2", "--datasets", "synth_pets"],
         "synth_objects_v2: cross_dataset trains on it, but it holds test images only"),
        (["few_shot", "--datasets", "synth_objects_v2"], "few_shot trains on it, but it holds test images only"),
        (["cross_dataset", "--datasets", "synth_things"], "the source 'synth_things' is also the only target"),
        (["few_shot", "--source", "synth_things"], "few_shot has no source to choose"),
        (["cross_dataset", "--shots", "1", "2"], "cross_dataset takes one number of shots"),
        (["few_shot", "--shots", "one"], "--shots one: whole numbers are needed"),
        (["cross_dataset", "--set", "prograd.n_ctx=5", "--datasets", "synth_aircraft"],
         "ProGrad: 'a type of aircraft, a photo of a' has 8 words"),
    ],
)  # fmt: skip
def test_bad_request_is_one_message_and_exit_code_2(call, capsys, arguments, message):
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.fixture
def photographs(shared, tmp_path):
    """Options for the real photographs: their folder, with miniature ImageNetV2 and -A made of ImageNet's pictures."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("caltech-101", "imagenet"):
        (data / name).symlink_to(shared / "data" / name)
    source = data / "imagenet" / "images" / "val"
    for number, line in enumerate((data / "imagenet" / "classnames.txt").read_text().splitlines()):
        synset = line.split()[0]
        v2 = data / "imagenetv2" / "imagenetv2-matched-frequency-format-val"
        shutil.copytree(source / synset, v2 / str(number))
        if number % 5 == 0:
            shutil.copytree(source / synset, data / "imagenet-adversarial" / "imagenet-a" / synset)
    return ["--data", str(data), "--backbone", str(shared / "tiny-clip"), *ONE]


@pytest.mark.golden
def test_real_photographs_cross_from_caltech_to_imagenet(call, recorded, photographs):
    names = ["--datasets", "caltech101", "imagenet", "--methods", "zero_shot", "copl"]
    assert call("cross_dataset", *photographs, *names, *QUICK) == 0
    record = recorded()["copl", 1]
    assert record.spec.dataset == "caltech101"
    assert classes(record) == {"caltech101": 100, "imagenet": 40}
    assert record.scores["imagenet"].total == 40
    assert record.training["steps"] == 100


@pytest.mark.golden
def test_real_photographs_few_shot(call, recorded, photographs):
    names = ["--datasets", "caltech101", "--methods", "zero_shot", "coop"]
    assert call("few_shot", *photographs, *names, *QUICK) == 0
    assert classes(recorded()["coop", 1]) == {"all": 100}


@pytest.mark.golden
def test_real_photographs_under_domain_shift(call, recorded, photographs):
    names = ["--datasets", "imagenetv2", "imagenet_a", "--methods", "zero_shot", "copl"]
    assert call("domain_generalization", *photographs, *names, *QUICK) == 0
    record = recorded()["copl", 1]
    assert classes(record) == {"imagenet": 40, "imagenetv2": 40, "imagenet_a": 8}
    assert record.scores["imagenetv2"] == record.scores["imagenet"], "the same pictures in other folders"


@pytest.mark.golden
def test_variant_of_imagenet_cannot_be_trained_on(call, photographs, capsys):
    assert call("few_shot", *photographs, "--datasets", "imagenet_a", "--plan") == 2
    assert "imagenet_a: few_shot trains on it, but it holds test images only" in capsys.readouterr().err
