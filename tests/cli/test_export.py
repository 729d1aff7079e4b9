"""What a run has learned, exported: a file that explains itself and gives back the same predictions."""

import shlex

import numpy as np
import pytest
from safetensors import safe_open

import run_all
from benchmark.records.store import collect, load

pytestmark = pytest.mark.slow  # they share runs, end to end

TRAIN = ["--datasets", "synth_actions", "--seeds", "1", "--shots", "1", "--device", "cpu"]
TRAINED = ("coop", "copl", "prograd", "promptsrc", "mmrl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records trained for a moment, two protocols, one of them with contexts of each class."""
    out = tmp_path_factory.mktemp("runs")
    epochs = [word for name in TRAINED for word in ("--set", f"{name}.epochs=2")]
    methods = ["--methods", "zero_shot", *TRAINED, *epochs]
    assert run_all.main([*methods, *TRAIN, "--out", str(out)]) == 0
    own = ["--protocol", "few_shot", "--methods", "coop", "tip_adapter_f", "--set", "coop.class_specific=true"]
    own += ["--set", "coop.epochs=2", "--set", "tip_adapter_f.epochs=1"]
    assert run_all.main([*own, *TRAIN, "--out", str(out)]) == 0
    return out


@pytest.fixture
def record_of(folder):
    """record_of("coop", "few_shot"): the path of a record."""
    return lambda method, protocol="base2new": next((folder / "synthetic" / protocol / method).rglob("*.json"))


@pytest.fixture
def exported(tmp_path):
    """exported(record): the safetensors of a record, its card beside it."""

    def make(record):
        assert run_all.main(["--export", str(record), "--out", str(tmp_path / "exported")]) == 0
        [path] = (tmp_path / "exported").glob(f"*{load(record).spec.hash}.safetensors")
        return path

    return make


def predictions(path):
    with np.load(path.with_suffix(".npz")) as packed:
        return {name: packed[name].tolist() for name in packed.files}


@pytest.mark.parametrize(
    ("method", "protocol"),
    [("coop", "base2new"), ("copl", "base2new"), ("prograd", "base2new"), ("coop", "few_shot"),
     ("tip_adapter_f", "few_shot"), ("promptsrc", "base2new"), ("mmrl", "base2new")],
)  # fmt: skip
def test_command_of_the_card_gives_the_same_predictions_without_training(
    record_of, exported, tmp_path, monkeypatch, method, protocol
):
    origin = record_of(method, protocol)
    path = exported(origin)
    card = path.with_suffix(".md").read_text()
    command = shlex.split(card.split("```bash\n")[1].split("\n")[0])
    assert command[:2] == ["python", "run_all.py"]
    monkeypatch.chdir(path.parent)
    assert run_all.main([*command[2:], "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    [again] = collect(tmp_path / "out")[0]
    assert again.spec.loaded and not again.training
    assert again.scores == load(origin).scores
    assert again.spec.options == load(origin).spec.options
    assert predictions(again.spec.record_path(tmp_path / "out")) == predictions(origin)
    twice = exported(again.spec.record_path(tmp_path / "out"))
    with safe_open(path, "pt") as one, safe_open(twice, "pt") as other:
        assert one.keys() == other.keys()
        assert all(np.array_equal(one.get_tensor(n), other.get_tensor(n)) for n in one.keys())  # noqa: SIM118
        assert other.metadata()["learned_values"] == f"loaded from {path.name}"


def test_file_of_another_method_or_backbone_or_class_order_is_refused(record_of, exported, tmp_path, capsys):
    shared, own = exported(record_of("coop")), exported(record_of("coop", "few_shot"))
    plan = [*TRAIN, "--out", str(tmp_path / "out"), "--plan", "--methods", "coop", "kgcoop"]
    assert run_all.main([*plan, "--load", f"kgcoop={shared}"]) == 2
    assert "holds values of 'coop'" in capsys.readouterr().err
    content = shared.read_bytes()
    checkpoint = load(record_of("coop")).spec.checkpoint.encode()
    assert content.count(checkpoint) == 1
    shared.write_bytes(content.replace(checkpoint, b"0123456789abcdef"))
    assert run_all.main([*plan, "--load", f"coop={shared}"]) == 2
    assert "learned with another backbone (files 0123456789abcdef)" in capsys.readouterr().err
    content = own.read_bytes()
    names = b'\\"stacked\\", \\"nested\\"'
    assert content.count(names) == 1
    own.write_bytes(content.replace(names, b'\\"nested\\", \\"stacked\\"'))
    assert run_all.main([*plan, "--protocol", "few_shot", "--load", f"coop={own}"]) == 2
    assert "holds values of each of 8 classes, nested, stacked" in capsys.readouterr().err


def test_run_that_learned_nothing_is_refused(record_of, capsys):
    assert run_all.main(["--export", str(record_of("zero_shot"))]) == 2
    assert "learned nothing that could be exported" in capsys.readouterr().err
