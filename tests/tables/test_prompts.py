"""The nearest words of learned context vectors, as a table."""

import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

from benchmark.inspection.nearest_words import words_near
from benchmark.records.store import load
from tables.prompts import initial_words, main

pytestmark = pytest.mark.slow  # they share runs, end to end


def rows_of(text):
    """The cells of a printed table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_words_have_the_nearest_embeddings_and_euclidean_distances(clip):
    [a, photo] = clip.tokenize(["a photo"])[0][1:3]
    table = clip.text.tokens
    shift = torch.full((table.shape[1],), 0.01)
    found = words_near(clip, torch.stack([table[photo], table[a] + shift]), 2)
    assert found[0][0] == ("photo", 0.0)
    assert found[1][0][0] == "a"
    assert found[1][0][1] == pytest.approx(shift.norm().item(), rel=1e-4)
    distances = (table - table[photo]).norm(dim=-1)
    assert found[0][1][1] == pytest.approx(distances.sort().values[1].item(), rel=1e-5)


@pytest.mark.parametrize("method", ["coop", "cocoop", "kgcoop", "prograd", "maple"])
def test_each_vector_has_a_row_with_its_initial_word(trained, capsys, method, clip):
    path = trained(method)
    assert main(["--run", str(path), "--words", "2"]) == 0
    rows = rows_of(capsys.readouterr().out)
    near = words_near(clip, load_file(path.with_suffix(".safetensors"))["ctx"], 2)
    assert [row[-2:] for row in rows] == [[f"{word} {distance:.4f}" for word, distance in each] for each in near]
    if method != "prograd":  # its initial words are those of the template
        assert [row[1] for row in rows] == ["a", "photo", "of", "a"][: 2 if method == "maple" else 4]


def test_contexts_per_class_are_shown_for_the_first_classes_or_a_named_one(trained, capsys):
    path = trained("coop", "few_shot")
    assert main(["--run", str(path)]) == 0
    first = rows_of(capsys.readouterr().out)
    assert [row[:2] for row in first] == [[c, n] for c in ("stacked", "nested", "crossing") for n in "12"]
    assert main(["--run", str(path), "--class", "crossing"]) == 0
    assert rows_of(capsys.readouterr().out) == first[4:]
    assert initial_words(load(path).spec, 2) == []


@pytest.mark.parametrize(
    ("method", "protocol", "more", "reason"),
    [
        ("zero_shot", "base2new", [], "'zero_shot' learns no context vectors"),
        ("coop", "base2new", ["--class", "nested"], "all classes of .* share one context"),
        ("coop", "few_shot", ["--class", "nestet"], r"Did you mean 'nested'\?"),
        ("coop", "base2new", ["--words", "0"], "at least 1 is needed"),
    ],
)
def test_run_without_such_words_is_refused(trained, capsys, method, protocol, more, reason):
    assert main(["--run", str(trained(method, protocol)), *more]) == 2
    assert re.search(reason, capsys.readouterr().err)


def test_missing_or_changed_tensors_are_refused(trained, tmp_path, capsys):
    path = trained("coop")
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    assert main(["--run", str(copy)]) == 2
    assert "is missing" in capsys.readouterr().err
    content = path.with_suffix(".safetensors").read_bytes()
    copy.with_suffix(".safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert main(["--run", str(copy)]) == 2
    assert "is not what this run left" in capsys.readouterr().err
