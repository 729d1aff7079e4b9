"""Own datasets from end to end: alone, mixed with the catalogue's, and as what a suite's file names."""

import json
import shutil

import pytest
from PIL import Image, ImageDraw

import run_all
import tables.__main__
from benchmark.records.store import collect

pytestmark = pytest.mark.slow  # end to end

COLOURS = {"blue & <b>": "blue", "green": "green", "red": "red", "yel'low": "yellow"}
ONE = ["--seeds", "1", "--methods", "zero_shot", "kgcoop", "--set", "kgcoop.epochs=1", "--processes", "1"]


def draw(folder, parts=("train", "test"), colours=COLOURS):
    """A tree of coloured discs, three of each class and part."""
    for part in parts:
        for name, colour in colours.items():
            (folder / part / name).mkdir(parents=True)
            for number in range(3):
                image = Image.new("RGB", (40, 40), "white")
                ImageDraw.Draw(image).ellipse((number, 4, 30, 34 + number), fill=colour)
                image.save(folder / part / name / f"{number}.png")
    return folder


@pytest.fixture
def discs(tmp_path):
    """The same discs in the three forms: options that name them tree, table and split."""
    folder = draw(tmp_path / "discs")
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    rows = [(path, sorted(COLOURS).index(path.split("/")[1]), *path.split("/")[1::-1]) for path in paths]
    lines = ["path,label,class_name,split", *(f"{path},{label},{name},{part}" for path, label, name, part in rows)]
    (folder / "list.csv").write_text("\n".join(lines))
    lists = {part: [row[:3] for row in rows if row[3] == part] for part in ("train", "val", "test")}
    (folder / "split.json").write_text(json.dumps(lists))
    paths = {"tree": folder, "table": folder / "list.csv", "split": folder / "split.json"}
    return {name: ["--dataset", f"{name}={path}"] for name, path in paths.items()}


@pytest.fixture
def call(tmp_path):
    """call("base2new", ...): the exit code of a small run with the embedded backbone, records below tmp_path/out."""

    def run(protocol, *arguments, backbone=("--backbone", "embedded")):
        return run_all.main(["--protocol", protocol, "--out", str(tmp_path / "out"), *backbone, *arguments])

    return run


def test_three_forms_of_the_same_data_give_the_same_row(call, discs, tmp_path, capsys):
    assert call("base2new", *discs["tree"], *discs["table"], *discs["split"], *ONE, "--shots", "2") == 0
    found, problems = collect(tmp_path / "out")
    assert problems == []
    records = {(record.spec.method, record.spec.dataset, record.spec.shots): record for record in found}
    assert {dataset for _, dataset, _ in records} == {"tree", "table", "split"}, "and none of the suite's"
    for method in ("zero_shot", "kgcoop"):
        scores = [records[method, name, 2].scores for name in ("tree", "table", "split")]
        assert scores[0] == scores[1] == scores[2]
        assert {score.total for score in scores[0].values()} == {6}
    out = tmp_path / "out" / "paper"
    assert "| tree " in (out / "base2new.md").read_text()
    page = (out / "report.html").read_text()
    assert "--dataset tree=PATH --dataset table=PATH" in page
    capsys.readouterr()
    assert tables.__main__.main(["--from", str(out), "--interval", "--baseline", "zero_shot"]) == 0
    assert "| split " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("protocol", "arguments", "message"),
    [
        ("base2new", ["--dataset", "discs"], "--dataset discs: write NAME=PATH, e.g."),
        ("base2new", ["--dataset", "=discs"], "write NAME=PATH"),
        ("base2new", ["--dataset", "discs="], "write NAME=PATH"),
        ("base2new", ["--dataset", "a=x", "--dataset", "a=y"], "--dataset a is given twice"),
        ("base2new", ["--dataset", "dtd=x"], "--dataset dtd: this name is taken already"),
        ("base2new", ["--dataset", "a=/nowhere/at/all"], "a: there is no file or folder /nowhere/at/all"),
        ("base2new", ["--dataset", "a={one}"], "a: base2new needs 2 classes or more"),
        ("few_shot", ["--dataset", "a={test}"], "few_shot trains on it, but it holds test images only"),
        ("base2new", ["--dataset", "tree={tree}", "--datasets", "tre"], "'tre' is not a dataset. Did you mean 'tree'"),
        ("cross_dataset", ["--dataset", "tree={tree}", "--dataset", "table={table}"],
         "Give --data FOLDER, or train on another with --source NAME: tree, table."),
        ("cross_dataset", ["--dataset", "tree={tree}", "--source", "tree"], "is also the only target"),
        ("base2new", ["--dataset", "tree={tree}", "--datasets", "tree", "dtd"], "dtd: real images are needed"),
        ("cross_dataset", ["--data", "{data}", "--dataset", "tree={tree}"],
         "Or train on another with --source NAME."),
        ("base2new", ["--data", "{data}", "--datasets", "dtd", "eurosat"], "Or leave it out with --datasets."),
    ],
)  # fmt: skip
def test_bad_own_dataset_is_one_message_and_exit_code_2(call, discs, tmp_path, capsys, protocol, arguments, message):
    draw(tmp_path / "one", colours={"red": "red"})
    draw(tmp_path / "test-only", parts=("test",))
    (tmp_path / "data").mkdir()
    places = {name: option[1].split("=", 1)[1] for name, option in discs.items()}
    places |= {"one": tmp_path / "one", "test": tmp_path / "test-only", "data": tmp_path / "data"}
    assert call(protocol, *(argument.format(**places) for argument in arguments), *ONE) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list((tmp_path / "out").rglob("*.json"))


def test_replaced_images_run_again_and_a_copy_of_the_folder_does_not(call, tmp_path, capsys):
    def score(folder):
        assert call("few_shot", "--dataset", f"discs={folder}", "--shots", "1", *ONE) == 0
        found, problems = collect(tmp_path / "out")
        assert problems == []
        return found, capsys.readouterr().out

    folder = draw(tmp_path / "discs")
    first, _ = score(folder)
    again, plan = score(shutil.copytree(folder, tmp_path / "copy"))
    assert [record.spec for record in again] == [record.spec for record in first]
    assert "total           2       2         0" in plan
    blue, red = (folder / "test" / name for name in ("blue & <b>", "red"))
    blue.rename(folder / "test" / "x"), red.rename(blue), (folder / "test" / "x").rename(red)
    changed, plan = score(folder)
    assert len(changed) == 4, "the old records stay"
    assert plan.count("the content of test images of discs changed since 1 run was recorded there") == 2
    assert call("few_shot", "--dataset", f"discs={folder}", "--shots", "1", *ONE, "--out", str(tmp_path / "fresh")) == 0
    fresh = {record.spec: record.scores for record in collect(tmp_path / "fresh")[0]}
    assert fresh == {record.spec: record.scores for record in changed if record not in first}
    assert tables.__main__.main(["--from", str(tmp_path / "out")]) == 2
    assert "the content of their" in capsys.readouterr().err


def test_target_with_images_that_are_trained_on_is_noted(call, tmp_path, capsys):
    others = dict(zip(COLOURS, ("navy", "lime", "pink", "gold"), strict=True))
    source, target = draw(tmp_path / "source"), draw(tmp_path / "target", colours=others)
    image = next((source / "train" / "red").iterdir())
    places = [f"--dataset={folder.name}={folder}" for folder in (source, target)]
    words = [*places, "--source", "source", "--datasets", "source", "target", *ONE, "--plan"]
    for copies in (0, 1):
        assert call("cross_dataset", *words) == 0
        note = "note: target: 1 of 12 test images have the same bytes as an image of source that is trained on"
        assert (note in capsys.readouterr().out) == copies
        shutil.copy(image, next((target / "test" / "red").iterdir()))
