"""Learned values from files are scored as they are; files that do not fit are refused before anything runs."""

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
from benchmark.training.loaded import Loader, pattern_problems
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


def test_path_without_seed_loads_the_first_seed_only():
    loader = Loader({"coop": "a/{seed}/x", "kgcoop": "a/x"})
    assert [loader.seeds(name, (1, 2, 3)) for name in ("coop", "kgcoop", "prograd")] == [(1, 2, 3), (1,), (1, 2, 3)]
    assert loader.notes("prograd", (1, 2)) == []
    assert "as seed 1" in loader.notes("kgcoop", (1, 2))[0]
    assert "as seed" not in loader.notes("coop", (1, 2))[0]


@pytest.mark.parametrize(
    ("loads", "shots", "problem"),
    [
        ({"coop": "x"}, [16], None),
        ({"coop": "{dataset}/{seed}/{shots}"}, [1, 2], None),
        ({"cop": "x"}, [16], "this method does not run. Did you mean 'coop'?"),
        ({"coop": "{sead}"}, [16], "{sead} is unknown. Did you mean 'seed'?"),
        ({"coop": "x"}, [1, 2], "few_shot runs 1, 2 shots"),
    ],
)
def test_load_pattern_names_a_method_that_runs_and_known_placeholders(loads, shots, problem):
    found = pattern_problems(loads, ["coop", "kgcoop"], {"few_shot": shots})
    assert (problem in found[0]) if problem else not found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("coop", {"dtype": torch.float32}),
        ("cocoop", {"prefix": "prompt_learner."}),
        ("kgcoop", {"prefix": "module."}),
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
def test_each_seed_loads_its_own_file_in_several_processes_and_tables_say_so(saved, tmp_path, capsys):
    for seed in (1, 2):
        saved("coop", name=f"synth_actions/seed{seed}/model.pth.tar-50", seed=seed, n_ctx=6)
    pattern = str(tmp_path / "{dataset}" / "seed{seed}" / "model.pth.tar-50")
    arguments = [*BASE, "--methods", "zero_shot", "coop", "--seeds", "1", "2", "--load", f"coop={pattern}"]
    code, records = run(tmp_path / "out", *arguments, "--processes", "2")
    assert code == 0
    assert f"note: coop: learned values are loaded from {pattern}" in capsys.readouterr().out
    assert records["coop", 1].spec.loaded != records["coop", 2].spec.loaded
    assert records["coop", 1].spec.options["n_ctx"] == 6, "as in the file"
    synthetic = tmp_path / "out" / "synthetic"
    assert "Loaded from files, not trained here: CoOp." in (synthetic / "base2new.md").read_text()
    assert "--load coop=PATH" in (synthetic / "report.md").read_text()
    assert run(tmp_path / "out", *arguments, "--plan")[0] == 0
    assert "total           4       4         0" in capsys.readouterr().out


@pytest.mark.slow
def test_all_files_that_are_missing_or_do_not_fit_are_named_before_anything_runs(saved, tmp_path, capsys):
    saved("cocoop", name="seed1.pth")
    saved("coop", name="seed2.pth", n_ctx=5, classes=4, class_specific=True)
    pattern = str(tmp_path / "seed{seed}.pth")
    arguments = [*BASE, "--methods", "coop", "--load", f"coop={pattern}"]
    assert run(tmp_path / "out", *arguments, "--seeds", "1", "2", "3", "4", "--plan")[0] == 2
    error = capsys.readouterr().err
    assert "seed3.pth does not exist" in error
    assert "seed4.pth does not exist" in error
    assert "seed1.pth: CoOp: the learned state does not fit: 'meta_net.linear1.bias' is unknown" in error
    assert "Is it a file of coop?" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "options", "loaded_as", "code", "message"),
    [
        ("coop", {}, "zero_shot", 2, "'ctx' is unknown"),
        ("coop", {"class_specific": True, "n_ctx": 4}, "coop", 2, "'ctx' has shape (5, 4, 128), not (8, 4, 128)"),
        ("coop", {}, "coop", 0, "was trained on 5 classes, where few_shot trains on 8 of synth_actions"),
    ],
    ids=["another method", "other classes", "shared context"],
)
def test_file_of_another_method_or_other_classes_is_refused_and_a_shared_context_noted(
    saved, tmp_path, capsys, given, options, loaded_as, code, message
):
    few = ["--protocol", "few_shot", *BASE[2:], "--methods", loaded_as, "--seeds", "1", "--plan"]
    path = saved(given, classes=5, **options)
    assert run(tmp_path / "out", *few, "--load", f"{loaded_as}={path}")[0] == code
    assert message in "".join(capsys.readouterr())


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--load", "coop"], "write METHOD=PATH"),
        (["--load", "coop="], "write METHOD=PATH"),
        (["--load", "coop=a", "--load", "coop=b"], "--load coop is given twice"),
    ],
)
def test_load_without_path_or_given_twice_is_refused(words, message, tmp_path, capsys):
    assert run_all.main([*words, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
