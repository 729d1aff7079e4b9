"""The generated datasets: equal bytes everywhere, captions the checkpoint knows, accuracy within bounds."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmark.data.catalog import load_catalog, load_dataset
from benchmark.data.synthetic import zero_shot
from benchmark.data.synthetic.names import generated_names, suite_version
from benchmark.data.synthetic.suite import (
    CHECKPOINT,
    GENERATED,
    PER_CLASS,
    SHIFTED,
    SYNTHETIC,
    generate_datasets,
    generate_image,
)
from benchmark.errors import DataError


def test_catalog_agrees_with_the_suite():
    assert (len(SYNTHETIC), len(SHIFTED), generated_names()) == (11, 4, tuple(GENERATED))
    assert len({dataset.seed for dataset in GENERATED.values()}) == len(GENERATED)
    for name, dataset in GENERATED.items():
        entry, classes = load_catalog()[name], len(dataset.classes)
        assert (entry.template, entry.mirrors, entry.classes) == (dataset.template, dataset.mirrors, classes)
        assert entry.counts == {
            split: count * classes if split in dataset.lists else 0 for split, count in PER_CLASS.items()
        }
    objects = SYNTHETIC["synth_objects"].classes
    assert all(dataset.classes.items() <= objects.items() for dataset in SHIFTED.values())


def test_images_are_those_of_the_version():
    """The version names the cache folder: where this fails, an image changed, and the version must change too."""
    digest = hashlib.sha256()
    for dataset in GENERATED.values():
        for split in dataset.lists:
            digest.update(generate_image(dataset, 1, split, 3).tobytes())
    assert (suite_version(), digest.hexdigest()[:16]) == ("adc3f210", "adc3f210f152e79d")


def test_images_of_a_class_are_all_different():
    """As test images would otherwise be training images; two kinds that shift a grid had such pairs."""
    dataset = GENERATED["synth_overhead"]
    for label in (1, 9):
        made = [generate_image(dataset, label, part, i).tobytes() for part in PER_CLASS for i in range(PER_CLASS[part])]
        assert len(set(made)) == len(made)


@pytest.mark.slow
def test_written_dataset_is_loaded_like_any_other_and_kept(tmp_path, embedded):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="COPL_BENCHMARK_CACHE"):
        generate_datasets(tmp_path / "file", ["synth_actions"])
    (tmp_path / "file").unlink()
    generate_datasets(tmp_path, ["synth_actions"])
    dataset = load_dataset("synth_actions", tmp_path, check_files=True)
    assert dataset.class_names == tuple(SYNTHETIC["synth_actions"].classes)
    assert [len(getattr(dataset, split)) for split in PER_CLASS] == [8 * count for count in PER_CLASS.values()]
    other = embedded("synth_actions")  # perhaps by another process
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 8 * sum(PER_CLASS.values()) + 1
    assert all((other / path.relative_to(tmp_path)).read_bytes() == path.read_bytes() for path in files)
    times = [path.stat().st_mtime_ns for path in files]
    generate_datasets(tmp_path, ["synth_actions"])
    assert times == [path.stat().st_mtime_ns for path in files]


@pytest.mark.slow
def test_concurrent_calls_leave_one_complete_dataset(tmp_path):
    name = "synth_objects_rendition"  # test images only
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: generate_datasets(tmp_path, [name]), range(2)))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    dataset = load_dataset(name, tmp_path, check_files=True)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (0, 0, 6 * PER_CLASS["test"])


def test_checkpoint_is_small_and_knows_every_word(clip):
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir()) <= 12 * 10**6
    texts = [dataset.template.format(name) for dataset in GENERATED.values() for name in dataset.classes]
    words = sorted({word for text in texts for word in text.replace(",", " ").replace(".", " ").split()})
    assert {len(ids) for ids in clip.tokenize(words)} == {3}, "start, word and end"


@pytest.mark.slow
def test_zero_shot_accuracy_is_within_its_bounds(monkeypatch):
    """On fewer images than there are; tests/methods/test_adapters.py has the gain of training."""
    monkeypatch.setitem(zero_shot.PER_CLASS, "test", 10)
    assert zero_shot.main() == 0
