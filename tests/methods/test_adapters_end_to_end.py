"""CLIP-Adapter, Tip-Adapter, Tip-Adapter-F and TaskRes from the command line to the record."""

import pytest
from safetensors.torch import load_file

from benchmark.clip.backbone import ImageFeatures
from benchmark.plugins.factory import create_method
from benchmark.records import store
from run_all import main

TEMPLATE = "a photo of a {}."
CACHES = ("tip_adapter", "tip_adapter_f")
CLASS_SPECIFIC = (*CACHES, "taskres")


def run(out, *arguments):
    words = ["--methods", "zero_shot", "clip_adapter", "tip_adapter", "tip_adapter_f", "taskres", "--seeds", "1"]
    assert main([*words, "--processes", "1", "--out", str(out), *arguments]) == 0


@pytest.fixture(scope="module")
def few_shot_runs(tmp_path_factory):
    """Records by method of all four and zero-shot on the embedded overhead pictures, and their folder."""
    out = tmp_path_factory.mktemp("results")
    run(out, "--protocol", "few_shot", "--datasets", "synth_overhead", "--shots", "8", "--set", "taskres.epochs=10",
        "--set", "clip_adapter.epochs=10")  # fmt: skip
    found, problems = store.collect(out)
    assert (len(found), problems) == (5, [])
    return {record.spec.method: record for record in found}, out


@pytest.mark.slow
def test_all_four_learn_the_embedded_overhead_pictures(few_shot_runs):
    correct = {name: record.scores["all"].correct for name, record in few_shot_runs[0].items()}
    assert min(correct[name] for name in correct if name != "zero_shot") > correct["zero_shot"], correct


@pytest.mark.slow
def test_records_tell_what_read_images_and_for_how_long(few_shot_runs):
    found = few_shot_runs[0]
    assert found["zero_shot"].learns_nothing
    assert not any(record.learns_nothing for name, record in found.items() if name != "zero_shot")
    assert found["tip_adapter"].spec.training is None
    assert found["tip_adapter"].training["steps"] == 0
    assert found["tip_adapter"].training["seconds"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", CACHES)
def test_record_holds_the_cache_and_votes_again_from_it(few_shot_runs, name, clip):
    found, out = few_shot_runs
    spec = found[name].spec
    state = load_file(spec.record_path(out).with_suffix(".safetensors"))
    assert state["values"].shape == (len(state["keys"]), 10)
    assert state["values"].sum(dim=0).tolist() == [8] * 10
    names = [f"class {c}" for c in range(10)]
    method = create_method(name, clip=clip, class_names=names, template=TEMPLATE, config=dict(spec.options))
    method.load_learned_state(state)
    held = ImageFeatures(state["keys"] / state["keys"].norm(dim=-1, keepdim=True))
    assert (method.votes(held.pooled).argmax(dim=-1) == state["values"].int().argmax(dim=-1)).float().mean() > 0.8


@pytest.mark.slow
def test_class_specific_methods_are_refused_where_other_classes_are_scored(tmp_path, capsys):
    for protocol in ("base2new", "cross_dataset"):
        run(tmp_path, "--protocol", protocol, "--datasets", "synth_things", "synth_actions", "--plan")
        text = capsys.readouterr().out
        for name in CLASS_SPECIFIC:
            assert f"refused: {name}, as configured, learns for the trained classes alone" in text
        assert "refused: clip_adapter" not in text


@pytest.mark.slow
def test_all_four_score_shifted_versions_of_their_source(tmp_path):
    run(tmp_path, "--protocol", "domain_generalization", "--shots", "1", "--set", "clip_adapter.epochs=2", "--set",
        "taskres.epochs=2", "--set", "tip_adapter_f.epochs=2")  # fmt: skip
    found, problems = store.collect(tmp_path)
    assert (len(found), problems) == (5, [])
    assert all(len(record.scores) == 5 for record in found)
