"""Learned values from files are scored as they are; files that do not fit are refused before anything runs."""

import json

import pytest
import torch

import run_all
from benchmark.plugins.factory import create_method
from benchmark.records.store import collect
from benchmark.training.load_paths import pattern_problems
from benchmark.training.loaded import Loader
from tests.helpers.dassl import save_checkpoint, whole_model

pytestmark = pytest.mark.usefixtures("sketched")


@pytest.fixture
def saved(tmp_path, clip):
    """saved("coop", name="a.pth", seed=1): a checkpoint in the toolbox's form, trained on so many classes."""

    def make(method, *, name="model.pth.tar-50", seed=0, classes=4, **config):
        names = [f"c{i}" for i in range(classes)]
        made = create_method(method, clip=clip, class_names=names, template="a {}.", config=config, seed=seed)
        learned = {name: value + seed for name, value in made.learned_state().items()}
        return save_checkpoint(tmp_path / name, learned, clip, classes=classes)

    return make


@pytest.fixture
def run(tmp_path):
    """run("coop", path, ...): the exit code and the records of a grid where the method loads a file."""

    def call(method, path, *more, protocol="base2new"):
        words = ["--protocol", protocol, "--datasets", "synth_actions", "--shots", "2", "--device", "cpu"]
        words += ["--methods", "zero_shot", *({method} - {"zero_shot"}), "--load", f"{method}={path}"]
        code = run_all.main([*words, "--seeds", "3", "--out", str(tmp_path / "out"), *more])
        return code, {(r.spec.method, r.spec.seed): r for r in collect(tmp_path / "out")[0]}

    return call


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
def test_each_seed_loads_its_own_file_in_several_processes_and_tables_say_so(saved, run, tmp_path, capsys):
    for seed in (1, 2):
        saved("coop", name=f"synth_actions/seed{seed}/model.pth.tar-50", seed=seed, n_ctx=6)
    pattern = str(tmp_path / "{dataset}" / "seed{seed}" / "model.pth.tar-50")
    code, records = run("coop", pattern, "--seeds", "1", "2", "--processes", "2")
    assert code == 0
    record = records["coop", 1]
    assert record.spec.training is None and record.training == {} and not record.learns_nothing
    assert record.provenance["loaded_from"]["file"] == "model.pth.tar-50"
    assert f"note: coop: learned values are loaded from {pattern}" in capsys.readouterr().out
    assert record.spec.loaded != records["coop", 2].spec.loaded
    assert record.spec.options["n_ctx"] == 6, "as in the file"
    tables = tmp_path / "out" / "synthetic"
    assert "Loaded from files, not trained here: CoOp." in (tables / "base2new.md").read_text()
    assert "--load coop=PATH" in (tables / "report.md").read_text()
    assert run("coop", pattern, "--seeds", "1", "2", "--plan")[0] == 0
    assert "total           4       4         0" in capsys.readouterr().out


def test_all_files_that_are_missing_or_do_not_fit_are_named_before_anything_runs(saved, run, tmp_path, capsys):
    saved("cocoop", name="seed1.pth")
    saved("coop", name="seed2.pth", n_ctx=5, classes=4, class_specific=True)
    assert run("coop", tmp_path / "seed{seed}.pth", "--seeds", "1", "2", "3", "4", "--plan")[0] == 2
    error = capsys.readouterr().err
    assert "seed3.pth does not exist" in error
    assert "seed4.pth does not exist" in error
    assert "seed1.pth: CoOp: the learned state does not fit: 'meta_net.linear1.bias' is unknown" in error
    assert "Is it a file of coop?" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("method", "config", "code", "message"),
    [
        ("zero_shot", {}, 2, "'ctx' is unknown"),
        ("coop", {"class_specific": True, "n_ctx": 4}, 2, "'ctx' has shape (5, 4, 128), not (8, 4, 128)"),
        ("coop", {}, 0, "was trained on 5 classes, where few_shot trains on 8 of synth_actions"),
    ],
    ids=["another method", "other classes", "shared context"],
)
def test_context_of_another_method_or_classes_is_refused_and_a_shared_one_noted(
    saved, run, capsys, method, config, code, message
):
    assert run(method, saved("coop", classes=5, **config), "--plan", protocol="few_shot")[0] == code
    assert message in "".join(capsys.readouterr())


def test_what_is_dropped_is_said_in_one_line_and_contexts_of_each_class_are_scored_as_advised(
    saved, run, tmp_path, capsys
):
    path = saved("kgcoop", name="kg.pth")
    whole = torch.load(path, weights_only=False)
    whole["state_dict"]["bias_vectors"] = torch.ones(1, 512)
    torch.save(whole, path)
    assert run("kgcoop", path, "--plan")[0] == 0
    line = f"note: kgcoop: bias_vectors of {path} are dropped; its authors' code never uses them."
    assert line in capsys.readouterr().out
    path = saved("coop", classes=8, class_specific=True, n_ctx=4)
    assert run("prograd", path, "--plan", protocol="few_shot")[0] == 2
    advice = f"scored as those of CoOp: --methods coop --load coop={path}"
    assert advice in capsys.readouterr().err
    assert run("coop", path, "--plan", protocol="few_shot")[0] == 0


@pytest.fixture
def saved_whole(tmp_path, clip):
    """saved_whole("mmrl", positions=1.5): a whole model of the authors, its position embeddings times a factor."""

    def make(name, *, positions=1.0, **config):
        method = create_method(name, clip=clip, class_names=["a", "b"], template="a {}.", config=config)
        state = whole_model(name, method.learned_state(), clip)
        state["text_encoder.positional_embedding"] = positions * state["text_encoder.positional_embedding"]
        torch.save({"state_dict": state}, tmp_path / f"{name}.pth")
        return tmp_path / f"{name}.pth"

    return make


@pytest.mark.parametrize(
    ("method", "config"),
    [
        ("maple", {"n_ctx": 1, "depth": 2}),
        ("promptsrc", {"depth": 2, "depth_vision": 1, "n_ctx_vision": 3}),
        ("mmrl", {"first": 2, "last": 3, "dim": 16}),
    ],
)
def test_whole_model_is_planned_with_the_options_that_it_shows_and_one_line_about_clip(
    saved_whole, run, capsys, method, config
):
    path = saved_whole(method, **config)
    assert run(method, path, "--plan")[0] == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.count(f"note: {method}: 2 tensors of the frozen CLIP in {path} are left out.") == 1


@pytest.mark.slow
def test_whole_model_of_another_backbone_fails_and_says_what_differs(saved_whole, run, tmp_path):
    code, records = run("mmrl", saved_whole("mmrl", positions=1.5, first=2, last=3, dim=64))
    assert (code, records.keys()) == (1, {("zero_shot", 3)})
    [failure] = (tmp_path / "out" / "failed").rglob("*.json")
    assert "their embeddings of the first position differ" in json.loads(failure.read_text())["error"]


@pytest.mark.slow
def test_checkpoint_of_another_backbone_fails_and_the_others_run(saved, run, tmp_path):
    path = saved("coop")
    whole = torch.load(path, weights_only=False)
    whole["state_dict"]["token_prefix"] *= 1.5
    torch.save(whole, path)
    code, records = run("coop", path)
    assert (code, records.keys()) == (1, {("zero_shot", 3)})
    [failure] = (tmp_path / "out" / "failed").rglob("*.json")
    assert "was learned with another backbone than embedded" in json.loads(failure.read_text())["error"]
