"""Trainings that runs share: taken from a whole record of the same training, and from nothing else."""

import dataclasses
import hashlib
from pathlib import Path

import pytest
import safetensors.torch
import torch

import benchmark.running.runner
import run_all
from benchmark.common.config import RunSpec, Training
from benchmark.records.record import RunRecord, Score
from benchmark.records.store import collect, load, save
from benchmark.training.reuse import LEARNED_SHA256, find_training, training_id

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("sketched")]  # end to end

SPEC = RunSpec(
    suite="synthetic", protocol="few_shot", method="coop", dataset="synth_actions", shots=2, seed=1, backbone="b",
    checkpoint="c", split="0123", template="a {}.", precision="fp32", options={"n_ctx": 4},
    training=Training(epochs=1, batch_size=1),
)  # fmt: skip
CARRIED = dataclasses.replace(SPEC, protocol="cross_dataset", split="0123+4567", targets={"synth_things": "a {}."})
SMALL = ["--seeds", "1", "2", "--shots", "1", "--set", "cocoop.epochs=1", "--set", "coop.epochs=2", "--device", "cpu",
         "--processes", "1"]  # fmt: skip


def store(spec, results, learned=None) -> Path:
    content = safetensors.torch.save({"ctx": torch.ones(2)}) if learned is None else learned
    record = RunRecord(
        spec=spec, status="ok", scores={"all": Score(correct=1, total=2, classes=2)}, evaluation_seconds=0.0,
        training={"steps": 3}, provenance={LEARNED_SHA256: hashlib.sha256(content).hexdigest()},
    )  # fmt: skip
    return save(record, results, predictions={}, learned=content)


def test_training_is_the_same_whatever_is_scored_afterwards():
    assert training_id(CARRIED) == training_id(SPEC)
    assert training_id(dataclasses.replace(CARRIED, protocol="domain_generalization")) == training_id(SPEC)


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "base2new"}, {"method": "kgcoop"}, {"dataset": "synth_pets"}, {"shots": 1}, {"seed": 2},
        {"checkpoint": "d"}, {"split": "4567"}, {"template": "the {}."}, {"precision": "bf16"},
        {"options": {"n_ctx": 8}}, {"training": Training(epochs=2, batch_size=1)},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_training_is_another_where_anything_that_decides_it_is(change):
    assert training_id(dataclasses.replace(SPEC, **change)) != training_id(SPEC)


def test_method_that_learns_nothing_has_no_training_to_share(tmp_path):
    nothing = dataclasses.replace(SPEC, training=None)
    store(nothing, tmp_path)
    assert training_id(nothing) == ""
    assert find_training(dataclasses.replace(nothing, protocol="cross_dataset"), tmp_path) is None


def test_whole_record_of_the_same_training_is_found(tmp_path):
    store(dataclasses.replace(SPEC, shots=1), tmp_path)
    assert find_training(CARRIED, tmp_path) is None
    store(SPEC, tmp_path)
    record, learned = find_training(CARRIED, tmp_path)
    assert record.spec == SPEC
    assert torch.equal(learned["ctx"], torch.ones(2))


@pytest.mark.parametrize("damage", ["gone", "cut", "one byte", "no record"])
def test_damaged_training_is_as_if_it_were_not_there(tmp_path, damage):
    path = store(SPEC, tmp_path)
    tensors = path.with_suffix(".safetensors")
    content = tensors.read_bytes()
    if damage == "gone":
        tensors.unlink()
    elif damage == "no record":
        path.write_text(path.read_text()[:-20])
    else:
        tensors.write_bytes(content[:-3] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    assert find_training(CARRIED, tmp_path) is None


def test_file_that_is_no_tensors_is_not_taken(tmp_path):
    store(SPEC, tmp_path, learned=b"nothing of the kind")
    assert find_training(CARRIED, tmp_path) is None


def run(out, protocol, *methods):
    names = ["synth_actions", "synth_things"] if protocol in ("cross_dataset", "all") else ["synth_things"]
    arguments = ["--protocol", protocol, "--datasets", *names, "--methods", *methods, *SMALL, "--out", str(out)]
    assert run_all.main(arguments) == 0
    return {(r.spec.protocol, r.spec.method, r.spec.dataset, r.spec.seed): r for r in collect(out)[0]}


def learned(record, out):
    return record.spec.record_path(out).with_suffix(".safetensors").read_bytes()


def test_second_protocol_takes_the_training_and_scores_as_if_it_had_trained(tmp_path, monkeypatch, capsys):
    one, other = tmp_path / "one", tmp_path / "other"
    first = run(one, "cross_dataset", "cocoop")
    anew = run(other, "few_shot", "cocoop")
    with monkeypatch.context() as patch:
        patch.delattr(benchmark.running.runner, "fit")
        patch.delattr(benchmark.running.runner, "fit_together")
        both = run(one, "few_shot", "cocoop")
    for seed in (1, 2):
        key = ("few_shot", "cocoop", "synth_things", seed)
        taken, source = both[key], first["cross_dataset", "cocoop", "synth_things", seed]
        assert taken.training == source.training | {"taken_from": source.spec.record_path(Path()).as_posix()}
        assert taken.warnings == source.warnings
        assert learned(taken, one) == learned(source, one) == learned(anew[key], other)
        assert taken.scores == anew[key].scores
        assert taken.scores["all"] == source.scores["synth_things"]
        assert "taken_from" not in anew[key].training
    assert "; training of synthetic/cross_dataset/cocoop/synth_things/shots1-seed1-" in capsys.readouterr().err


def test_all_protocols_train_once_what_they_share_and_the_plan_says_so(tmp_path, capsys):
    arguments = ["--protocol", "all", "--datasets", "synth_things", "synth_actions", "--methods", "coop", "cocoop"]
    assert run_all.main([*arguments, *SMALL, "--out", str(tmp_path), "--plan"]) == 0
    text = capsys.readouterr().out
    assert "2 of the runs to do take what another one learns and train nothing" in text
    records = run(tmp_path, "all", "coop", "cocoop")
    taken = {key for key, record in records.items() if "taken_from" in record.training}
    assert taken == {("few_shot", "cocoop", "synth_things", seed) for seed in (1, 2)}
    steps = sum(record.training["steps"] for key, record in records.items() if key not in taken)
    assert f"all protocols: {len(records)} runs, 0 done, {len(records)} to run, {steps} steps" in text


def test_damaged_training_is_trained_again_with_the_same_outcome(tmp_path):
    first = run(tmp_path, "cross_dataset", "cocoop")
    victim = first["cross_dataset", "cocoop", "synth_things", 1]
    path = victim.spec.record_path(tmp_path).with_suffix(".safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    both = run(tmp_path, "few_shot", "cocoop")
    anew, taken = (both["few_shot", "cocoop", "synth_things", seed] for seed in (1, 2))
    assert "taken_from" not in anew.training
    assert "taken_from" in taken.training
    assert learned(anew, tmp_path) == whole
    assert load(anew.spec.record_path(tmp_path)).scores["all"] == victim.scores["synth_things"]
