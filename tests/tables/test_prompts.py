"""The nearest words of learned context vectors, as a table without torch in this process's way."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

import run_all
from benchmark.inspection.nearest_words import words_near
from benchmark.records.store import load
from tables.prompts import main, started_as

pytestmark = pytest.mark.slow  # they share runs, end to end


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    small = ["--datasets", "synth_actions", "--seeds", "1", "--shots", "1", "--device", "cpu", "--out", str(out)]
    epochs = [w for name in ("coop", "cocoop", "kgcoop", "prograd") for w in ("--set", f"{name}.epochs=1")]
    methods = ["--methods", "zero_shot", "coop", "cocoop", "kgcoop", "prograd", "clip_adapter"]
    assert run_all.main([*methods, *epochs, "--set", "clip_adapter.epochs=1", *small]) == 0
    own = ["--protocol", "few_shot", "--methods", "coop", "--set", "coop.class_specific=true", *epochs[:2]]
    assert run_all.main([*own, "--set", "coop.n_ctx=2", *small]) == 0
    return out


@pytest.fixture
def record_of(folder):
    """record_of("coop", "few_shot"): the path of a record."""
    return lambda method, protocol="base2new": next((folder / "synthetic" / protocol / method).rglob("*.json"))


def rows_of(text):
    """The cells of a printed table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_words_are_those_whose_embeddings_are_nearest_and_distances_are_euclidean(clip):
    [a, photo] = clip.tokenize(["a photo"])[0][1:3]
    table = clip.text.tokens
    far = torch.full((table.shape[1],), 0.01)
    found = words_near(clip, torch.stack([table[photo], table[a] + far]), 2)
    assert found[0][0] == ("photo", 0.0)
    assert found[1][0][0] == "a"
    assert found[1][0][1] == pytest.approx(far.norm().item(), rel=1e-4)
    distances = (table - table[photo]).norm(dim=-1)
    assert found[0][1][1] == pytest.approx(distances.sort().values[1].item(), rel=1e-5)


@pytest.mark.parametrize("method", ["coop", "cocoop", "kgcoop", "prograd"])
def test_every_method_with_contexts_has_a_row_a_vector(record_of, capsys, method, clip):
    path = record_of(method)
    assert main(["--run", str(path), "--words", "2"]) == 0
    rows = rows_of(capsys.readouterr().out)
    context = load_file(path.with_suffix(".safetensors"))["ctx"]
    assert len(rows) == len(context)
    near = words_near(clip, context, 2)
    assert [row[-2:] for row in rows] == [[f"{word} {distance:.4f}" for word, distance in each] for each in near]
    if method != "prograd":
        assert [row[1] for row in rows] == ["a", "photo", "of", "a"]


def test_contexts_of_each_class_are_read_for_the_first_classes_or_the_one_named(record_of, capsys):
    path = record_of("coop", "few_shot")
    assert main(["--run", str(path)]) == 0
    first = rows_of(capsys.readouterr().out)
    assert [row[:2] for row in first] == [[c, n] for c in ("stacked", "nested", "crossing") for n in "12"]
    assert main(["--run", str(path), "--class", "crossing"]) == 0
    assert rows_of(capsys.readouterr().out) == first[4:]


@pytest.mark.parametrize(
    ("method", "protocol", "more", "reason"),
    [
        ("zero_shot", "base2new", [], "'zero_shot' learns no context vectors"),
        ("clip_adapter", "base2new", [], "'clip_adapter' learns no context vectors"),
        ("coop", "base2new", ["--class", "nested"], "all classes of .* share one context"),
        ("coop", "few_shot", ["--class", "nestet"], "Did you mean 'nested'?"),
        ("coop", "base2new", ["--words", "0"], "at least 1 is needed"),
    ],
)
def test_what_has_no_words_is_refused_by_name(record_of, capsys, method, protocol, more, reason):
    import re

    assert main(["--run", str(record_of(method, protocol)), *more]) == 2
    error = capsys.readouterr().err
    assert reason in error or re.search(reason, error)


def test_tensors_that_are_gone_or_changed_are_refused(record_of, tmp_path, capsys):
    path = record_of("coop")
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    assert main(["--run", str(copy)]) == 2
    assert "is missing" in capsys.readouterr().err
    content = path.with_suffix(".safetensors").read_bytes()
    copy.with_suffix(".safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert main(["--run", str(copy)]) == 2
    assert "is not what this run left" in capsys.readouterr().err


def test_words_of_the_start_are_told_only_where_each_vector_has_one(record_of):
    spec = load(record_of("coop")).spec
    assert started_as(spec, 4) == ["a", "photo", "of", "a"]
    assert started_as(spec, 3) == []
    assert started_as(load(record_of("coop", "few_shot")).spec, 2) == []
