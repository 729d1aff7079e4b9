"""Files of published values: shipped rows, rows of a user, and messages about invalid lines."""

from itertools import product

import pytest

from benchmark.common.config import RunSpec
from benchmark.errors import ConfigError
from benchmark.records.metrics import harmonic_mean
from tables.published import published_base2new, published_few_shot, published_transfer

HEADER = "method,variant,backbone,shots,dataset,base,new,h,seen_in\n"
LINE = "copl,paper,ViT-B/16,16,dtd,70.00,60.00,64.62,the paper's Table 1\n"


@pytest.fixture
def spec(record):
    """The spec of a base-to-new run with ViT-B/16."""
    return record("coop", "dtd", 50, 50).spec


@pytest.fixture
def read(tmp_path, spec):
    """read(lines): the values of a base2new.csv with these lines after its header."""

    def write(lines, header=HEADER):
        (tmp_path / "base2new.csv").write_text(header + lines)
        return published_base2new(spec, folder=tmp_path).values

    return write


def test_shipped_values(spec, transfer):
    halves = published_base2new(spec)
    assert len(halves.datasets) == 11
    assert halves.values["coop", "average", "new"] == 63.22
    from_imagenet = transfer("coop", {"imagenet": 50, "dtd": 50}).spec
    assert published_transfer(from_imagenet).values["coop", "average", "accuracy"] == 63.88
    assert published_few_shot(spec, ["1"]).values["coop", "imagenet", "1"] == 66.33
    rows = {key[:2] for key in halves.values}
    assert len(rows) > 40
    for method, dataset in rows:
        base, new, h = (halves.values[method, dataset, column] for column in ("base", "new", "h"))
        assert h == pytest.approx(harmonic_mean(base, new), abs=0.02)
    shifted = transfer("coop", {"imagenet": 50}, protocol="domain_generalization").spec
    for found, columns, methods in (
        (halves, ("base", "new"), 5),
        (published_transfer(from_imagenet), ("accuracy",), 4),
        (published_transfer(shifted), ("accuracy",), 4),
        (published_few_shot(spec, ["16"]), ("16",), 2),
    ):
        cells = {name: {method for method, dataset, _ in found.values if dataset == name}
                 for name in (*found.datasets, "average")}  # fmt: skip
        full = set.intersection(*cells.values())
        assert len(full) == methods
        for method, column in product(full, columns):
            mean = sum(found.values[method, name, column] for name in found.datasets) / len(found.datasets)
            assert found.values[method, "average", column] == pytest.approx(mean, abs=0.015)


def test_added_rows_are_read_and_empty_numbers_are_unknown(read):
    assert read(LINE) == {("copl", "dtd", "base"): 70.0, ("copl", "dtd", "new"): 60.0, ("copl", "dtd", "h"): 64.62}
    assert len(read(LINE + LINE.replace("Table 1", "Table 9"))) == 3, "a second source of the same numbers"
    assert read("copl,paper,ViT-B/16,16,dtd,,60.00,,Table 1\n") == {("copl", "dtd", "new"): 60.0}
    for old, other in ((",paper,", ",re-run,"), ("ViT-B/16", "RN50"), (",16,", ",4,")):
        assert read(LINE.replace(old, other)) == {}, "of another variant, backbone or number of shots"


def test_rows_of_a_transfer_are_shown_with_runs_of_their_source(tmp_path, transfer):
    header = "method,variant,backbone,shots,source_dataset,target_dataset,accuracy,seen_in\n"
    lines = [f"copl,paper,ViT-B/16,16,caltech101,{name},50.5,Table 2\n" for name in ("dtd", "average")]
    (tmp_path / "domain_generalization.csv").write_text(header + "".join(lines))
    for source, found in (("caltech101", 2), ("imagenet", 0)):
        spec = transfer("copl", {source: 50, "dtd": 50}, protocol="domain_generalization").spec
        assert len(published_transfer(spec, folder=tmp_path).values) == found


def test_backbone_is_recognized_by_its_checkpoint_or_its_published_name(spec):
    hub = "openai/clip-vit-base-patch16"
    names = (hub, "/models/clip-vit-base-patch16/", "ViT-B/16", "openai/clip-vit-base-patch32")
    specs = [RunSpec(**spec.to_json() | {"backbone": name, "training": None}) for name in names]
    assert [bool(published_base2new(each).values) for each in specs] == [True, True, True, False]


@pytest.mark.parametrize(
    "content, message",
    [
        (HEADER + "copl,paper,ViT-B/16,16,dtd,170,60,64,x\n", "line 2: 'base' is '170'; it must be a percentage"),
        (HEADER + "copl,paper,ViT-B/16,all,dtd,70,60,64,x\n", "line 2: 'shots' is 'all'; it must be a whole number"),
        (HEADER + "copl,paper,ViT-B/16,16,,70,60,64,x\n", "line 2: 'dataset' is empty"),
        (HEADER + "copl,paper,ViT-B/16,16,dtd,70\n", "line 2: must have 9 cells"),
        (HEADER + LINE + LINE, "line 3: repeats line 2: copl, paper, ViT-B/16, 16, dtd"),
        (HEADER + LINE.replace("70.00", "x") + LINE.replace("16,dtd", "-1,dtd"), "2 problems"),
        (HEADER.replace("dataset", "datset"), "column 'datset' is unknown. Did you mean 'dataset'?"),
        (HEADER.replace("new,", ""), "line 1: column 'new' is missing"),
        (HEADER.replace("new,", "new,new,"), "column 'new' is repeated"),
    ],
)
def test_invalid_or_missing_file_is_named_with_its_lines(read, spec, tmp_path, content, message):
    with pytest.raises(ConfigError) as caught:
        read(content, header="")
    assert message in str(caught.value)
    assert "base2new.csv" in str(caught.value)
    with pytest.raises(ConfigError, match=r"base2new\.csv: cannot be read \(No such file"):
        published_base2new(spec, folder=tmp_path / "nowhere")
