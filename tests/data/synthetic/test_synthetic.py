"""The embedded suite: drawn the same everywhere, in words that the checkpoint knows, neither hopeless nor solved."""

import hashlib
import json
import multiprocessing

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import CLIPModel, CLIPTokenizer

from benchmark.data.catalog import load_catalog, load_dataset
from benchmark.data.synthetic.canvas import SIZE, Look
from benchmark.data.synthetic.captions import CHOICES, describe, draw_attributes, facts_of, vocabulary
from benchmark.data.synthetic.renderer import KINDS, render
from benchmark.data.synthetic.suite import CHECKPOINT, DRAWN, PER_CLASS, SHIFTED, SYNTHETIC, draw, materialise
from benchmark.data.synthetic.zero_shot import MEAN_RANGE, MOST, TIMES_CHANCE, accuracy, judge
from benchmark.errors import DataError

MOST_BYTES = 12 * 10**6


def test_suite_has_eleven_datasets_of_eight_to_forty_classes():
    assert len(SYNTHETIC) == 11
    assert all(8 <= len(dataset.classes) <= 40 for dataset in SYNTHETIC.values())
    assert PER_CLASS["train"] == 16
    assert PER_CLASS["test"] >= 50


def test_catalogue_agrees_with_the_suite():
    catalog = {name: entry for name, entry in load_catalog().items() if entry.mirrors}
    assert catalog.keys() == DRAWN.keys()
    for name, dataset in DRAWN.items():
        entry = catalog[name]
        assert (entry.template, entry.mirrors, entry.classes) == (
            dataset.template,
            dataset.mirrors,
            len(dataset.classes),
        )
        counts = {split: count if split in dataset.lists else 0 for split, count in PER_CLASS.items()}
        assert entry.counts == {split: count * len(dataset.classes) for split, count in counts.items()}


def test_shifted_versions_of_the_objects_mirror_the_four_imagenet_variants():
    mirrored = [dataset.mirrors for dataset in SHIFTED.values()]
    assert mirrored == ["imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"]
    objects = SYNTHETIC["synth_objects"].classes
    assert [len(dataset.classes) for dataset in SHIFTED.values()] == [12, 12, 6, 6]
    assert all(dataset.classes.items() <= objects.items() for dataset in SHIFTED.values())
    assert len({dataset.seed for dataset in DRAWN.values()}) == len(DRAWN)


def test_picture_of_every_dataset_is_the_one_that_results_were_measured_on():
    digest = hashlib.sha256()
    for dataset in SYNTHETIC.values():
        for split in PER_CLASS:
            digest.update(draw(dataset, 1, split, 3).tobytes())
    assert digest.hexdigest()[:16] == "6238cfce26a8c7f5"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_picture_is_a_function_of_its_generator(kind):
    def picture(seed):
        rng = np.random.default_rng(seed)
        return render(kind, draw_attributes(kind, rng), rng, Look(noise=0.1, clutter=3, blur=0.5))

    assert picture(1).shape == (SIZE, SIZE, 3)
    assert picture(1).dtype == np.uint8
    assert np.array_equal(picture(1), picture(1))
    assert not np.array_equal(picture(1), picture(2))


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_every_dataset_is_shifted_from_the_plain_style(name):
    dataset = DRAWN[name]
    shifted = draw(dataset, 0, "test", 0).astype(int)
    assert np.abs(shifted - draw(dataset, 0, "test", 0, shifted=False)).mean() > 5


def test_pictures_of_the_three_lists_differ():
    dataset = SYNTHETIC["synth_things"]
    assert len({draw(dataset, 1, split, 0).tobytes() for split in PER_CLASS}) == 3


def test_caption_asserts_only_what_its_picture_shows():
    rng = np.random.default_rng(0)
    for kind in CHOICES:
        for _ in range(50):
            attributes = draw_attributes(kind, rng)
            caption = describe(kind, attributes, rng)
            assert caption.facts <= facts_of(kind, attributes)
            assert caption.facts


def test_every_word_of_classes_templates_and_captions_is_one_token(clip):
    texts = [word for word in vocabulary()]
    for dataset in SYNTHETIC.values():
        texts += dataset.classes
        texts += [dataset.template.format("")]
    words = sorted({word for text in texts for word in text.replace(",", " ").replace(".", " ").split()})
    assert len(words) > 100
    for word, ids in zip(words, clip.tokenize(words), strict=True):
        assert len(ids) == 3, f"'{word}' falls into {len(ids) - 2} tokens"


def test_checkpoint_is_small_and_in_half_precision():
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir()) <= MOST_BYTES
    with safe_open(CHECKPOINT / "model.safetensors", framework="np") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {np.dtype(np.float16)}  # noqa: SIM118
    assert (CHECKPOINT / "training_log.csv").read_text().count("\n") > 10
    assert "python -m benchmark.data.synthetic.train_clip" in (CHECKPOINT / "README.md").read_text()


@pytest.fixture(scope="module")
def materialised(tmp_path_factory):
    """A folder of its own with the embedded actions."""
    root = tmp_path_factory.mktemp("materialised")
    materialise(root, ["synth_actions"])
    return root


@pytest.mark.slow
def test_materialised_dataset_is_read_like_any_other(materialised):
    dataset = load_dataset("synth_actions", materialised, check_files=True)
    assert dataset.class_names == tuple(SYNTHETIC["synth_actions"].classes)
    assert {len(getattr(dataset, split)) for split in PER_CLASS} == {8 * count for count in PER_CLASS.values()}
    assert [path.name for path in materialised.iterdir()] == ["synth_actions"]


def test_shifted_version_holds_test_pictures_alone(tmp_path):
    materialise(tmp_path, ["synth_objects_rendition"])
    dataset = load_dataset("synth_objects_rendition", tmp_path, check_files=True)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (0, 0, 6 * PER_CLASS["test"])


@pytest.mark.slow
def test_materialised_files_are_the_same_bytes_again_and_left_alone_if_there(materialised, embedded):
    other = embedded("synth_actions")  # drawn apart, by another process maybe
    files = {p.relative_to(materialised): p for p in materialised.rglob("*") if p.is_file()}
    assert len(files) == 8 * sum(PER_CLASS.values()) + 1
    assert all((other / path).read_bytes() == file.read_bytes() for path, file in files.items())
    times = {file: file.stat().st_mtime_ns for file in files.values()}
    materialise(materialised, ["synth_actions"])
    assert times == {file: file.stat().st_mtime_ns for file in files.values()}


@pytest.mark.slow
def test_processes_that_materialise_at_once_leave_one_whole_dataset(tmp_path):
    context = multiprocessing.get_context("spawn")
    name = "synth_objects_rendition"  # the one that is drawn soonest
    workers = [context.Process(target=materialise, args=(tmp_path, [name])) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    split = json.loads((tmp_path / name / f"split_zhou_{name}.json").read_text())
    assert len(split["test"]) == len(list((tmp_path / name).rglob("*.png"))) == 6 * PER_CLASS["test"]


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="COPL_BENCHMARK_CACHE"):
        materialise(tmp_path / "file", ["synth_actions"])


@pytest.mark.slow
def test_zero_shot_accuracy_is_neither_hopeless_nor_solved():
    results = judge()
    mean = sum(share for share, _ in results.values()) / len(results)
    assert MEAN_RANGE[0] <= mean <= MEAN_RANGE[1]
    for name, (share, chance) in results.items():
        assert TIMES_CHANCE * chance <= share <= MOST, f"{name}: {share:.3f}, chance {chance:.3f}"


@pytest.mark.slow
def test_zero_shot_accuracy_under_domain_shift_is_neither_hopeless_nor_solved():
    model = CLIPModel.from_pretrained(CHECKPOINT, dtype=torch.float32)
    tokenizer = CLIPTokenizer.from_pretrained(CHECKPOINT)
    for name, dataset in SHIFTED.items():
        share, chance = accuracy(model, tokenizer, dataset, per_class=PER_CLASS["test"]), 1 / len(dataset.classes)
        assert TIMES_CHANCE * chance <= share <= MOST, f"{name}: {share:.3f}, chance {chance:.3f}"
