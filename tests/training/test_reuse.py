"""A training is reused only from an undamaged record of the same training."""

import dataclasses
import hashlib
from pathlib import Path

import pytest
import safetensors.torch
import torch

import run_all
from benchmark.common.config import RunSpec, Training
from benchmark.records.record import RunRecord, Score
from benchmark.records.store import collect, save
from benchmark.training.reuse import LEARNED_SHA256, find_training, training_id

pytestmark = pytest.mark.usefixtures("sketched")

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


def test_training_id_does_not_depend_on_what_is_scored():
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
def test_training_id_changes_with_everything_that_decides_the_training(change):
    assert training_id(dataclasses.replace(SPEC, **change)) != training_id(SPEC)


def test_run_without_training_has_nothing_to_reuse(tmp_path):
    nothing = dataclasses.replace(SPEC, training=None)
    store(nothing, tmp_path)
    assert training_id(nothing) == ""
    assert find_training(dataclasses.replace(nothing, protocol="cross_dataset"), tmp_path) is None


def test_record_of_the_same_training_is_found(tmp_path):
    store(dataclasses.replace(SPEC, shots=1), tmp_path)
    assert find_training(CARRIED, tmp_path) is None
    store(SPEC, tmp_path)
    record, learned = find_training(CARRIED, tmp_path)
    assert record.spec == SPEC
    assert torch.equal(learned["ctx"], torch.ones(2))


@pytest.mark.parametrize("damage", ["missing", "cut", "one byte", "record", "no tensors"])
def test_damaged_training_is_not_found(tmp_path, damage):
    path = store(SPEC, tmp_path, learned=b"not tensors" if damage == "no tensors" else None)
    tensors = path.with_suffix(".safetensors")
    content = tensors.read_bytes()
    if damage == "missing":
        tensors.unlink()
    elif damage == "record":
        path.write_text(path.read_text()[:-20])
    elif damage in ("cut", "one byte"):
        tensors.write_bytes(content[:-3] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    assert find_training(CARRIED, tmp_path) is None


def run(out, protocol, *methods):
    names = ["synth_actions", "synth_things"] if protocol in ("cross_dataset", "all") else ["synth_things"]
    arguments = ["--protocol", protocol, "--datasets", *names, "--methods", *methods, *SMALL, "--out", str(out)]
    assert run_all.main(arguments) == 0
    return {(r.spec.protocol, r.spec.method, r.spec.dataset, r.spec.seed): r for r in collect(out)[0]}


def learned(record, out):
    return record.spec.record_path(out).with_suffix(".safetensors").read_bytes()


@pytest.mark.slow
def test_second_protocol_reuses_the_training_and_scores_as_if_it_had_trained(tmp_path, monkeypatch, capsys):
    one, other = tmp_path / "one", tmp_path / "other"
    first, anew = run(one, "cross_dataset", "cocoop"), run(other, "few_shot", "cocoop")
    victim = first["cross_dataset", "cocoop", "synth_things", 2].spec.record_path(one).with_suffix(".safetensors")
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-9])
    both = run(one, "few_shot", "cocoop")
    for seed in (1, 2):
        key = ("few_shot", "cocoop", "synth_things", seed)
        reused, source = both[key], first["cross_dataset", "cocoop", "synth_things", seed]
        assert reused.scores == anew[key].scores
        assert reused.scores["all"] == source.scores["synth_things"]
        assert learned(reused, one) == learned(anew[key], other)
        assert "taken_from" not in anew[key].training
        if seed == 1:
            assert reused.training == source.training | {"taken_from": source.spec.record_path(Path()).as_posix()}
            assert (reused.warnings, learned(reused, one)) == (source.warnings, learned(source, one))
        else:
            assert "taken_from" not in reused.training, "its tensors were damaged, so it was trained again"
            assert learned(reused, one) == whole
    assert "; training of synthetic/cross_dataset/cocoop/synth_things/shots1-seed1-" in capsys.readouterr().err


@pytest.mark.slow
def test_all_protocols_train_once_what_they_share_and_the_plan_counts_it(tmp_path, capsys):
    arguments = ["--protocol", "all", "--datasets", "synth_things", "synth_actions", "--methods", "coop", "cocoop"]
    assert run_all.main([*arguments, *SMALL, "--out", str(tmp_path), "--plan"]) == 0
    text = capsys.readouterr().out
    assert "2 of the runs to do take what another one learns and train nothing" in text
    records = run(tmp_path, "all", "coop", "cocoop")
    reused = {key for key, record in records.items() if "taken_from" in record.training}
    assert reused == {("few_shot", "cocoop", "synth_things", seed) for seed in (1, 2)}
    steps = sum(record.training["steps"] for key, record in records.items() if key not in reused)
    assert f"all protocols: {len(records)} runs, 0 done, {len(records)} to run, {steps} steps" in text
