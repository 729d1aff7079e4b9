"""Learned values from files in place of a training: scored as they are, and refused before anything runs."""

import json

import numpy as np
import pytest
import torch

import run_all
from benchmark.data.catalog import load_dataset
from benchmark.data.splits import half
from benchmark.features.store import FeatureStore
from benchmark.plugins.factory import create_method
from benchmark.records.store import collect
from benchmark.training.evaluate import SCORE_BATCH
from benchmark.training.load_paths import pattern_problems
from benchmark.training.loaded import Loader
from tests.helpers.dassl import save_checkpoint

pytestmark = pytest.mark.usefixtures("sketched")
BASE = ["--protocol", "base2new", "--datasets", "synth_actions", "--shots", "2", "--device", "cpu"]


def values_of(name, clip, seed=0, classes=("left", "right"), **config):
    """What a method might have learned: its random start, moved."""
    method = create_method(name, clip=clip, class_names=list(classes), template="a {}.", config=config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    return {n: t + 0.3 * torch.randn(t.shape, generator=generator) for n, t in method.learned_state().items()}


@pytest.fixture
def saved(tmp_path, clip):
    """saved("coop", name="a.pth", seed=1): a checkpoint in the toolbox's form, trained on four classes."""

    def make(method, *, name="model.pth.tar-50", seed=0, classes=4, how=None, **config):
        learned = values_of(method, clip, seed, [f"c{i}" for i in range(classes)], **config)
        return save_checkpoint(tmp_path / name, learned, clip, classes=classes, **(how or {}))

    return make


@pytest.fixture(scope="module")
def actions(embedded):
    return load_dataset("synth_actions", embedded("synth_actions"))


def run(out, *arguments):
    code = run_all.main([*arguments, "--out", str(out)])
    return code, {(r.spec.method, r.spec.seed): r for r in collect(out)[0]}


def predictions(record, out):
    with np.load(record.spec.record_path(out).with_suffix(".npz")) as packed:
        return {name: packed[name] for name in packed.files}


def test_path_with_seed_is_each_seeds_and_without_is_the_first_ones_alone():
    loader = Loader({"coop": "a/{seed}/x", "kgcoop": "a/x"})
    assert loader.seeds("coop", (1, 2, 3)) == (1, 2, 3)
    assert loader.seeds("kgcoop", (1, 2, 3)) == (1,)
    assert loader.seeds("prograd", (1, 2, 3)) == (1, 2, 3)
    assert loader.notes("prograd", (1, 2)) == []
    assert "as seed 1" in loader.notes("kgcoop", (1, 2))[0]
    assert "as seed" not in loader.notes("coop", (1, 2))[0]


@pytest.mark.parametrize(
    ("loads", "problem"),
    [
        ({"coop": "x"}, None),
        ({"coop": "{dataset}/{seed}/{shots}"}, None),
        ({"cop": "x"}, "it is not among the methods that run. Did you mean 'coop'?"),
        ({"coop": "{sead}"}, "{sead} is unknown. Did you mean 'seed'?"),
    ],
)
def test_pattern_names_a_method_that_runs_and_known_places(loads, problem):
    found = pattern_problems(loads, ["coop", "kgcoop"], {"base2new": [16]})
    assert (problem in found[0]) if problem else not found


def test_several_numbers_of_shots_need_a_file_each():
    shots = {"base2new": [16], "few_shot": [1, 2]}
    assert "few_shot runs 1, 2 shots" in pattern_problems({"coop": "x"}, ["coop"], shots)[0]
    assert not pattern_problems({"coop": "x-{shots}"}, ["coop"], shots)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("coop", {"dtype": torch.float32}),
        ("cocoop", {"prefix": "prompt_learner."}),
        ("kgcoop", {"prefix": "module."}),
        ("prograd", {}),
    ],
)
def test_checkpoint_is_scored_as_the_method_with_its_values_and_nothing_is_trained(
    saved, actions, clip, tmp_path, method, how
):
    path = saved(method, how=how)
    code, records = run(tmp_path / "out", *BASE, "--methods", method, "--seeds", "3", "--load", f"{method}={path}")
    assert code == 0
    record = records[method, 3]
    assert record.spec.training is None and record.training == {} and not record.learns_nothing
    assert record.provenance["loaded_from"]["file"] == path.name
    state = torch.load(path, weights_only=False)["state_dict"]
    values = {name.split(".", 1)[1] if how.get("prefix") else name: t.float() for name, t in state.items()}
    for part in ("base", "new"):
        dataset = half(actions, part)
        mine = create_method(
            method, clip=clip, class_names=dataset.class_names, template=record.spec.template,
            config=dict(record.spec.options),
        )  # fmt: skip
        mine.load_learned_state({n: t for n, t in values.items() if not n.startswith("token_")})
        store = FeatureStore(clip)
        with torch.no_grad():
            batches = store.test(dataset, dataset.test, None, batch=SCORE_BATCH)
            wanted = torch.cat([mine(images).argmax(dim=-1) for images in batches]).numpy()
        assert np.array_equal(predictions(record, tmp_path / "out")[part], wanted)


@pytest.mark.slow
def test_length_and_kind_of_the_context_follow_from_the_file(saved, tmp_path):
    own = saved("coop", name="own.pth", classes=8, n_ctx=6, class_specific=True)
    few = ["--protocol", "few_shot", *BASE[2:], "--methods", "coop", "--seeds", "1"]
    code, records = run(tmp_path / "own", *few, "--load", f"coop={own}")
    assert code == 0
    options = records["coop", 1].spec.options
    assert (options["n_ctx"], options["class_specific"], options["ctx_init"]) == (6, True, None)
    shared = saved("kgcoop", name="shared.pth", n_ctx=7)
    code, records = run(tmp_path / "shared", *BASE, "--methods", "kgcoop", "--seeds", "1", "--load", f"kgcoop={shared}")
    assert code == 0
    assert records["kgcoop", 1].spec.options["n_ctx"] == 7


@pytest.mark.slow
def test_each_seed_and_dataset_takes_its_own_file_in_several_processes_and_tables_say_so(saved, tmp_path, capsys):
    for dataset in ("synth_actions", "synth_things"):
        for seed in (1, 2):
            classes = {"synth_actions": 4, "synth_things": 5}[dataset]
            saved("coop", name=f"{dataset}/seed{seed}/model.pth.tar-50", seed=seed, classes=classes)
    pattern = str(tmp_path / "{dataset}" / "seed{seed}" / "model.pth.tar-50")
    arguments = ["--datasets", "synth_actions", "synth_things", "--methods", "zero_shot", "coop", "--seeds", "1", "2"]
    load = ["--shots", "2", "--load", f"coop={pattern}", "--processes", "2", "--device", "cpu"]
    assert run(tmp_path / "out", *arguments, *load)[0] == 0
    assert f"note: coop: what it learned is loaded from {pattern}" in capsys.readouterr().out
    files = {r.spec.loaded for r in collect(tmp_path / "out")[0] if r.spec.method == "coop"}
    assert len(files) == 2, "one for each seed; the two datasets' were saved with equal values"
    synthetic = tmp_path / "out" / "synthetic"
    for text in (path.read_text() for path in (synthetic / "base2new.md", synthetic / "report.md")):
        assert "Loaded from files, not trained here: CoOp." in text
    report = (synthetic / "report.md").read_text()
    assert "loaded from a file" in report
    assert "--load coop=PATH" in report
    assert run(tmp_path / "out", *arguments, *load, "--plan")[0] == 0
    assert "total           8       8         0" in capsys.readouterr().out


@pytest.mark.slow
def test_other_values_are_another_run_and_the_same_ones_in_another_file_are_not(saved, tmp_path):
    first, copy, other = saved("coop"), saved("coop", name="copy.pth", how={"prefix": "module."}), saved(
        "coop", name="other.pth", seed=5)  # fmt: skip
    arguments = [*BASE, "--methods", "coop", "--seeds", "1"]
    for path, count in ((first, 1), (copy, 1), (other, 2)):
        assert run(tmp_path / "out", *arguments, "--load", f"coop={path}")[0] == 0
        assert len(collect(tmp_path / "out")[0]) == count


@pytest.mark.slow
def test_all_files_that_are_missing_or_do_not_fit_are_named_before_anything_runs(saved, tmp_path, capsys):
    saved("cocoop", name="seed1.pth")
    saved("coop", name="seed2.pth", n_ctx=5, classes=4, class_specific=True)
    pattern = str(tmp_path / "seed{seed}.pth")
    arguments = [*BASE, "--methods", "coop", "--load", f"coop={pattern}"]
    assert run(tmp_path / "out", *arguments, "--seeds", "1", "2", "3", "4", "--plan")[0] == 2
    error = capsys.readouterr().err
    assert "seed3.pth is not there" in error
    assert "seed4.pth is not there" in error
    assert "seed1.pth: CoOp: the learned state does not fit: 'meta_net.linear1.bias' is unknown" in error
    assert "Is it a file of coop?" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "loaded_as", "reason"),
    [
        ("coop", "cocoop", "'meta_net.linear1.bias' is missing"),
        ("coop", "zero_shot", "'ctx' is unknown"),
        ("coop", "taskres", "'ctx' is unknown"),
    ],
)
def test_file_of_another_method_is_refused(saved, tmp_path, capsys, given, loaded_as, reason):
    few = ["--protocol", "few_shot", *BASE[2:], "--methods", loaded_as, "--seeds", "1"]
    assert run(tmp_path / "out", *few, "--load", f"{loaded_as}={saved(given)}", "--plan")[0] == 2
    assert reason in capsys.readouterr().err


@pytest.mark.slow
def test_contexts_of_other_classes_are_refused_and_a_shared_one_only_noted(saved, tmp_path, capsys):
    few = ["--protocol", "few_shot", *BASE[2:], "--methods", "coop", "--seeds", "1", "--plan"]
    own = saved("coop", name="own.pth", classes=5, n_ctx=4, class_specific=True)
    assert run(tmp_path / "out", *few, "--load", f"coop={own}")[0] == 2
    assert "'ctx' has shape (5, 4, 128), not (8, 4, 128)" in capsys.readouterr().err
    shared = saved("coop", name="shared.pth", classes=5)
    assert run(tmp_path / "out", *few, "--load", f"coop={shared}")[0] == 0
    assert "shared.pth was trained on 5 classes, where few_shot trains on 8 of synth_actions" in capsys.readouterr().out


@pytest.mark.slow
def test_checkpoint_of_another_backbone_fails_and_leaves_the_others_running(saved, tmp_path, clip, capsys):
    path = saved("coop")
    whole = torch.load(path, weights_only=False)
    whole["state_dict"]["token_prefix"] *= 1.5
    torch.save(whole, path)
    arguments = [*BASE, "--methods", "zero_shot", "coop", "--seeds", "1"]
    code, records = run(tmp_path / "out", *arguments, "--load", f"coop={path}")
    assert code == 1
    assert records.keys() == {("zero_shot", 1)}
    [failure] = (tmp_path / "out" / "failed").rglob("*.json")
    assert "was learned with another backbone than embedded" in json.loads(failure.read_text())["error"]


@pytest.mark.parametrize("word", ["coop", "=x", "coop="])
def test_load_without_method_or_path_is_refused_with_an_example(word, tmp_path, capsys):
    assert run_all.main(["--load", word, "--out", str(tmp_path)]) == 2
    assert "write METHOD=PATH" in capsys.readouterr().err


def test_method_loaded_twice_is_refused(tmp_path, capsys):
    assert run_all.main(["--load", "coop=a", "--load", "coop=b", "--out", str(tmp_path)]) == 2
    assert "--load coop is given twice" in capsys.readouterr().err
