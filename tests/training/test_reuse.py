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

SPEC = RunSpec(
    suite="synthetic", protocol="few_shot", method="coop", dataset="synth_actions", shots=2, seed=1, backbone="b",
    checkpoint="c", split="0123", template="a {}.", precision="fp32", options={"n_ctx": 4},
    training=Training(epochs=1, batch_size=1),
)  # fmt: skip
SAME = dataclasses.replace(SPEC, protocol="cross_dataset", split="0123+4567", targets={"synth_things": "a {}."})
OTHERS = [
    {"protocol": "base2new"}, {"method": "kgcoop"}, {"dataset": "synth_pets"}, {"shots": 1}, {"seed": 2},
    {"checkpoint": "d"}, {"split": "4567"}, {"template": "the {}."}, {"precision": "bf16"},
    {"options": {"n_ctx": 8}}, {"training": Training(epochs=2, batch_size=1)}, {"training": None},
]  # fmt: skip


def test_training_id_depends_on_what_decides_the_training_and_not_on_what_is_scored():
    assert training_id(SAME) == training_id(dataclasses.replace(SAME, protocol="domain_generalization"))
    assert training_id(SAME) == training_id(SPEC)
    assert len({training_id(dataclasses.replace(SPEC, **change)) for change in [{}, *OTHERS]}) == 1 + len(OTHERS)
    assert training_id(dataclasses.replace(SPEC, training=None)) == "", "nothing to reuse"


@pytest.mark.parametrize("damage", [None, "other shots", "missing", "cut", "one byte", "record", "no tensors"])
def test_training_is_found_in_an_undamaged_record_only(tmp_path, damage):
    content = b"not tensors" if damage == "no tensors" else safetensors.torch.save({"ctx": torch.ones(2)})
    record = RunRecord(
        spec=dataclasses.replace(SPEC, shots=1) if damage == "other shots" else SPEC, status="ok",
        scores={"all": Score(correct=1, total=2, classes=2)}, evaluation_seconds=0.0, training={"steps": 3},
        provenance={LEARNED_SHA256: hashlib.sha256(content).hexdigest()},
    )  # fmt: skip
    path = save(record, tmp_path, predictions={}, learned=content)
    tensors = path.with_suffix(".safetensors")
    if damage == "missing":
        tensors.unlink()
    elif damage == "record":
        path.write_text(path.read_text()[:-20])
    elif damage in ("cut", "one byte"):
        tensors.write_bytes(content[:-3] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    found = find_training(SAME, tmp_path)
    assert (found is None) == (damage is not None)
    if found:
        assert found[0].spec == SPEC
        assert torch.equal(found[1]["ctx"], torch.ones(2))


def run(out, protocol):
    names = ["synth_things", *(["synth_actions"] if protocol == "cross_dataset" else [])]
    small = ["--seeds", "1", "2", "--shots", "1", "--set", "cocoop.epochs=1", "--device", "cpu", "--processes", "1"]
    arguments = ["--protocol", protocol, "--datasets", *names, "--methods", "cocoop", *small, "--out", str(out)]
    assert run_all.main(arguments) == 0
    return {(r.spec.protocol, r.spec.dataset, r.spec.seed): r for r in collect(out)[0]}


@pytest.mark.slow
@pytest.mark.usefixtures("sketched")
def test_second_protocol_reuses_the_training_and_scores_as_if_it_had_trained(tmp_path, capsys):
    def learned(record, out):
        return record.spec.record_path(out).with_suffix(".safetensors")

    one, other = tmp_path / "one", tmp_path / "other"
    first, anew = run(one, "cross_dataset"), run(other, "few_shot")
    victim = learned(first["cross_dataset", "synth_things", 2], one)
    victim.write_bytes(victim.read_bytes()[:-9])
    both = run(one, "few_shot")
    for seed in (1, 2):
        key = ("few_shot", "synth_things", seed)
        reused, source = both[key], first["cross_dataset", "synth_things", seed]
        assert reused.scores == anew[key].scores
        assert reused.scores["all"] == source.scores["synth_things"]
        assert learned(reused, one).read_bytes() == learned(anew[key], other).read_bytes()
        origin = {"taken_from": source.spec.record_path(Path()).as_posix()}
        assert (reused.training == source.training | origin) == (seed == 1), "the tensors of seed 2 were damaged"
        assert "taken_from" not in anew[key].training
    assert "; training of synthetic/cross_dataset/cocoop/synth_things/shots1-seed1-" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("sketched")
def test_all_protocols_train_once_what_they_share_in_any_process(tmp_path, capsys):
    arguments = ["--protocol", "all", "--datasets", "synth_actions", "synth_things", "--seeds", "1", "--shots", "1"]
    arguments += ["--methods", "cocoop", "--set", "cocoop.epochs=1", "--out", str(tmp_path), "--device", "cpu"]
    assert run_all.main([*arguments, "--processes", "2"]) == 0
    found, problems = collect(tmp_path)
    assert (len(found), problems) == (5, [])
    trained = [record for record in found if "taken_from" not in record.training]
    [reused] = [record.spec for record in found if record not in trained]
    assert (reused.protocol, reused.dataset) == ("few_shot", "synth_things")
    text = capsys.readouterr().out
    assert "note: 1 of the runs to do take what another one learns and train nothing." in text
    steps = sum(record.training["steps"] for record in trained)
    assert f"all protocols: 5 runs, 0 done, 5 to run, {steps} steps in 4 trainings" in text
