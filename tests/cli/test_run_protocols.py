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
    sets = plan.runs[-1].scored_sets()
    assert sets[0][1] == "a photo of a {}."
    assert [scored.name for scored, _ in sets] == ["synth_things", "synth_textures", "synth_pets"]


@pytest.fixture
def photographs(shared, tmp_path):
    """Options for the real photographs, with small copies of ImageNetV2 and ImageNet-A made of ImageNet's images."""
    data = tmp_path / "data"
    data.mkdir()
    for name in ("caltech-101", "imagenet"):
        (data / name).symlink_to(shared / "data" / name)
    for number, line in enumerate((data / "imagenet" / "classnames.txt").read_text().splitlines()):
        images = data / "imagenet" / "images" / "val" / line.split()[0]
        shutil.copytree(images, data / "imagenetv2" / "imagenetv2-matched-frequency-format-val" / str(number))
        if number % 5 == 0:
            shutil.copytree(images, data / "imagenet-adversarial" / "imagenet-a" / images.name)
    return ["--data", str(data), "--backbone", str(shared / "tiny-clip"), *ONE]


@pytest.mark.golden
@pytest.mark.parametrize(
    ("protocol", "datasets", "wanted"),
    [
        ("base2new", ["caltech101"], {"base": 50, "new": 50}),
        ("few_shot", ["caltech101"], {"all": 100}),
        ("cross_dataset", ["caltech101", "imagenet"], {"caltech101": 100, "imagenet": 40}),
        ("domain_generalization", ["imagenetv2", "imagenet_a"], {"imagenet": 40, "imagenetv2": 40, "imagenet_a": 8}),
    ],
)
def test_real_photographs_run_end_to_end(call, recorded, photographs, tmp_path, protocol, datasets, wanted):
    methods = ["--methods", "zero_shot", "copl" if protocol == "base2new" else "coop"]
    assert call(protocol, *photographs, "--datasets", *datasets, *methods, *QUICK) == 0
    records = recorded()
    assert [classes(record) for record in records.values()] == [wanted] * 2
    scores = records["zero_shot", 1].scores
    assert sum(score.total for score in scores.values()) >= 88
    assert scores.get("imagenetv2") == scores.get("imagenet" if "imagenetv2" in scores else None), "the same images"
    text = (tmp_path / "out" / "paper" / f"{protocol}.md").read_text()
    assert protocol != "base2new" or "Published values" in text
