"""Claims: each kind of rule on hand-made accuracies, what is not judged, what the sheet says, what is refused."""

import dataclasses
import re

import pytest

from benchmark.common.config import load_suite, read_yaml
from benchmark.errors import ConfigError, RecordError
from benchmark.records.record import Score
from tables.claims import judge as claims
from tables.claims.rules import SHEET, Claim, load_claims, mirrors
from tables.rendering.grid import to_html, to_latex, to_markdown

ELEVEN = load_suite("paper").datasets
SIX = ("zero_shot", "coop", "cocoop", "kgcoop", "prograd", "copl")


@pytest.fixture
def new(record):
    """new({"copl": {"dtd": [60, 62]}}): base-to-new records with these accuracies on new classes, seeds from 1."""

    def make(accuracies, **changes):
        return [
            record(method, dataset, 50, value, seed=seed, **changes)
            for method, of in accuracies.items()
            for dataset, values in of.items()
            for seed, value in enumerate(values, start=1)
        ]

    return make


def on(*values, datasets=ELEVEN):
    """The same accuracies on each dataset."""
    return {dataset: list(values) for dataset in datasets}


def claim(kind, others=("coop",), **fields):
    return Claim(id="c", says="s", source="t", protocol="base2new", class_set="new", kind=kind, method="copl",
                 others=others, **fields)  # fmt: skip


def verdict(records, of):
    return claims.judge(records, [of])[0]


def test_sheet_holds_the_nine_claims_with_protocol_and_source():
    sheet = {c.id: c for c in load_claims()}
    assert len(sheet) == 9
    assert (sheet["ucf101-gain-over-coop"].figure, sheet["ucf101-gain-over-coop"].source) == (20.6, "article")
    assert sheet["one-shot"].shots == 1
    assert sheet["copl-transfers-better"].trained_on == "caltech101"
    assert all(c.protocol in ("base2new", "cross_dataset", "few_shot") for c in sheet.values())


@pytest.mark.parametrize("copl, outcome", [(61, "holds"), (60, "does not hold"), (59, "does not hold")])
def test_above_on_compares_with_the_best_other_and_a_tie_is_not_above(new, copl, outcome):
    records = new({"copl": {"dtd": [copl]}, "coop": {"dtd": [60]}, "cocoop": {"dtd": [10]}})
    assert verdict(records, claim("above_on", ("coop", "cocoop"), dataset="dtd")).outcome == outcome
    opposite = {"holds": "does not hold", "does not hold": "holds"}[outcome]
    assert verdict(records, claim("does_not_lead_on", ("coop", "cocoop"), dataset="dtd")).outcome == opposite


@pytest.mark.parametrize(
    "gain, outcome", [(20.6, "holds"), (18.7, "holds"), (22.7, "does not hold"), (5, "does not hold")]
)
def test_gain_about_a_figure_holds_within_its_tolerance(new, gain, outcome):
    records = new({"copl": {"ucf101": [50 + gain]}, "coop": {"ucf101": [50]}})
    found = verdict(records, claim("gain_about", dataset="ucf101", figure=20.6, tolerance=2.0))
    assert found.outcome == outcome
    assert f"gain {gain:+.2f}, claimed 20.60 ± 2.00" in found.measured


def test_wide_interval_does_not_confirm_a_figure(new):
    records = new({"copl": {"ucf101": [20, 50, 80]}, "coop": {"ucf101": [50, 50, 50]}})
    assert (
        verdict(records, claim("gain_about", dataset="ucf101", figure=20.6, tolerance=2.0)).outcome == "does not hold"
    )


def test_averages_are_compared_in_the_claimed_direction(new):
    records = new({"copl": on(60), "coop": on(50)})
    assert verdict(records, claim("average_above")).outcome == "holds"
    assert verdict(records, claim("average_below")).outcome == "does not hold"
    assert verdict(records, claim("average_above")).measured == "CoPL 60.00, CoOp 50.00"


@pytest.mark.parametrize("ahead, outcome", [(8, "holds"), (7, "does not hold")])
def test_great_majority_of_eleven_is_eight(new, ahead, outcome):
    records = new({"copl": on(60), "coop": on(50, datasets=ELEVEN[:ahead]) | on(70, datasets=ELEVEN[ahead:])})
    found = verdict(records, claim("above_on_most", share=0.7))
    assert found.outcome == outcome
    assert f"above on {ahead} of 11 datasets, 8 are needed; not on" in found.measured


@pytest.mark.parametrize("ahead, outcome", [(4, "holds"), (3, "does not hold")])
def test_majority_is_more_than_half_of_the_judged(new, ahead, outcome):
    six = ELEVEN[:6]
    records = new({"copl": on(60, datasets=six), "coop": on(50, datasets=six[:ahead]) | on(70, datasets=six[ahead:])})
    assert verdict(records, claim("above_on_most", share=0.5)).outcome == outcome


@pytest.mark.parametrize("kind, fields", [("average_above", {}), ("above_on_most", {"share": 0.5})])
def test_claim_about_many_datasets_is_judged_from_more_than_half_and_says_how_many(new, kind, fields):
    five, six = (new({m: on(v, datasets=ELEVEN[:n]) for m, v in (("copl", 60), ("coop", 50))}) for n in (5, 6))
    few = verdict(five, claim(kind, **fields))
    assert (few.outcome, few.test) == ("not measured", "")
    assert "5 of 11 datasets; at least 6 are needed" in few.measured
    enough = verdict(six, claim(kind, **fields))
    assert enough.outcome == "holds"
    assert enough.judged.startswith("6 of 11 datasets; without FGVCAircraft")


def test_missing_method_and_missing_dataset_are_named(new):
    assert verdict(new({"copl": on(60)}), claim("average_above", ("coop", "prograd"))).measured == (
        "no record of CoOp, ProGrad"
    )
    found = verdict(new({"copl": {"dtd": [1]}, "coop": {"eurosat": [1]}}), claim("above_on", dataset="dtd"))
    assert (found.outcome, found.judged) == ("not measured", "DTD, 0 of 1 dataset")
    assert "no seed of DTD" in found.measured


def test_only_seeds_that_all_methods_have_count(new):
    records = new({"copl": {"dtd": [60, 60, 90]}, "coop": {"dtd": [65, 65]}})
    found = verdict(records, claim("above_on", dataset="dtd"))
    assert (found.outcome, found.seeds) == ("does not hold", (1, 2))


def test_one_run_of_a_method_that_learns_nothing_stands_for_every_seed(new):
    records = new({"copl": {"dtd": [60, 62]}, "zero_shot": {"dtd": [61.5]}})
    found = verdict(records, claim("above_on", ("zero_shot",), dataset="dtd"))
    assert (found.outcome, found.seeds) == ("does not hold", (1, 2))


def test_paired_test_is_over_seeds_of_one_dataset_and_over_datasets_of_an_average(new):
    records = new({"copl": on(60, 63, 61), "coop": on(58, 60, 60), "cocoop": on(10, 20, 30)})
    single = verdict(records, claim("above_on", ("coop", "cocoop"), dataset="dtd")).test
    assert single.startswith("CoPL less CoOp: +2.00 over 3 seeds, 95 % interval ")
    assert re.search(r"p [=<] 0\.\d{3}$", single)
    assert "over 11 datasets" in verdict(records, claim("average_above", ("coop", "cocoop"))).test
    one_seed = new({"copl": {"dtd": [60]}, "coop": {"dtd": [50]}})
    assert verdict(one_seed, claim("above_on", dataset="dtd")).test == "CoPL less CoOp: +10.00 on one seed, no test"


def test_one_shot_claim_reads_records_of_one_shot_alone(record):
    def few(method, value, shots):
        made = [record(method, dataset, 1, 1, protocol="few_shot", shots=shots) for dataset in ELEVEN]
        score = Score(correct=value, total=100, classes=10)
        return [dataclasses.replace(each, scores={"all": score}) for each in made]

    [one_shot] = [c for c in load_claims() if c.id == "one-shot"]
    more = few("copl", 99, 16) + few("cocoop", 1, 16)
    assert verdict(more, one_shot).outcome == "not measured"
    assert verdict(more + few("copl", 50, 1) + few("cocoop", 60, 1), one_shot).outcome == "does not hold"


def test_transfer_is_judged_on_targets_of_its_source(record):
    def transfer(method, source, values):
        scores = {name: Score(correct=value, total=100, classes=10) for name, value in values.items()}
        made = record(method, source, 1, 1, protocol="cross_dataset", targets={n: "{}." for n in values if n != source})
        return dataclasses.replace(made, scores=scores)

    majority = next(c for c in load_claims() if c.id == "copl-transfers-better")
    ours = dict.fromkeys(ELEVEN, 60)
    theirs = ours | dict.fromkeys(ELEVEN[2:8], 50)  # six targets, and none of them the source
    records = [transfer("copl", "caltech101", ours), transfer("cocoop", "caltech101", theirs)]
    found = verdict(records, majority)
    assert (found.outcome, found.judged) == ("holds", "10 of 10 datasets")
    other = [transfer("copl", "imagenet", ours), transfer("cocoop", "imagenet", theirs)]
    assert verdict(other, majority).outcome == "not measured"
    assert verdict(records + other, majority).outcome == "holds"


def test_embedded_datasets_count_as_those_they_mirror_and_the_sheet_says_so(new):
    names = [name for name, mirror in mirrors().items() if mirror.paper in ELEVEN]
    records = new({"copl": on(60, datasets=names), "coop": on(50, datasets=names)}, suite="synthetic")
    assert verdict(records, claim("average_above")).judged == "11 of 11 datasets"
    found = verdict(records, claim("above_on", dataset="dtd"))
    assert found.judged == "Textures (for DTD), 1 of 1 dataset"
    sheet = claims.grid([found], records, note="A note.")
    assert claims.MIRRORED in sheet.caption
    assert sheet.caption.endswith("A note.")
    real = new({"copl": {"dtd": [60]}, "coop": {"dtd": [50]}})
    assert claims.MIRRORED not in claims.grid(claims.judge(real), real).caption


def test_records_not_measured_alike_are_refused_and_both_named(new):
    records = new({"copl": {"dtd": [60]}}) + new({"coop": {"dtd": [50]}}, backbone="other")
    with pytest.raises(RecordError, match=r"copl/dtd.*coop/dtd.*backbone"):
        claims.judge(records, [claim("above_on", dataset="dtd")])


def test_every_claim_of_the_sheet_is_judged_from_whole_base_to_new_records(new):
    records = new({method: on(50, 51, 52) for method in SIX} | {"copl": on(60, 61, 62)})
    outcomes = {v.claim.id: v.outcome for v in claims.judge(records)}
    assert outcomes == {
        "copl-best-on-new": "holds", "copl-best-on-base": "does not hold", "coop-forgets": "does not hold",
        "ucf101-gain-over-coop": "does not hold", "texture-gain": "holds", "eurosat-weak": "does not hold",
        "copl-transfers-better": "not measured", "objects-to-textures": "not measured", "one-shot": "not measured",
    }  # fmt: skip


def test_written_sheet_names_claim_verdict_numbers_seeds_and_source(new, tmp_path):
    path = claims.write(new({"copl": on(60, 61), "coop": on(50, 51)}), tmp_path)
    row = next(line for line in path.read_text().splitlines() if "texture-gain" in line)
    assert "not measured" in row
    assert "no record of CoCoOp" in row
    gain = next(line for line in path.read_text().splitlines() if "ucf101-gain" in line)
    for part in ("does not hold", "+10.00", "20.60 ± 2.00", "UCF101, 1 of 1 dataset", "1, 2", "2 seeds", "article"):
        assert part in gain


GOOD = dict(says="s", source="t", protocol="base2new", class_set="new", kind="above_on", method="copl", others=["coop"],
            dataset="dtd")  # fmt: skip


def sheet_of(tmp_path, fields):
    path = tmp_path / "claims.yaml"
    path.write_text("mine:\n" + "".join(f"  {key}: {value}\n" for key, value in fields.items()))
    return path


def test_claim_that_a_user_adds_is_judged(tmp_path, new):
    path = sheet_of(tmp_path, GOOD)
    path.write_text(SHEET.read_text() + path.read_text())
    found = claims.judge(new({"copl": {"dtd": [2]}, "coop": {"dtd": [1]}}), load_claims(path))
    assert len(found) == 1 + len(read_yaml(SHEET))
    assert (found[-1].claim.id, found[-1].outcome) == ("mine", "holds")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kind": "above_onn"}, "did you mean 'above_on'"),
        ({"datset": "dtd"}, "did you mean 'dataset'"),
        ({"protocol": "base2neww"}, "did you mean 'base2new'"),
        ({"dataset": "eurosatt"}, "Did you mean 'eurosat'"),
        ({"share": 0.7}, "does not use 'share'"),
        ({"kind": "gain_about"}, "needs 'figure'"),
        ({"protocol": "few_shot"}, "needs 'shots'"),
        ({"others": ["copl"]}, "not 'method' itself"),
        ({"kind": "above_on_most", "share": 7}, "from 0.5 to 1"),
    ],
)
def test_faulty_claim_is_refused_with_its_name_and_the_nearest(tmp_path, change, message):
    with pytest.raises(ConfigError) as caught:
        load_claims(sheet_of(tmp_path, GOOD | change))
    assert message in str(caught.value)
    assert "claim 'mine'" in str(caught.value)
    assert "claims.yaml" in str(caught.value)


def test_hostile_claim_is_escaped_in_all_languages(new):
    hostile = "<script>alert(1)</script> | `x` & \"y\" 'z' 100% a_b"
    records = new({"copl": {"dtd": [2]}, "coop": {"dtd": [1]}})
    named = dataclasses.replace(claim("above_on", dataset="dtd"), id=hostile, says=hostile, source=hostile)
    sheet = claims.grid(claims.judge(records, [named]), records)
    assert "<script>" not in to_html(sheet) + to_markdown(sheet)
    row = to_markdown(sheet).splitlines()[4]
    assert len(re.findall(r"(?<!\\)\|", row)) == len(sheet.columns) + 1
    assert r"100\% a\_b" in to_latex(sheet)
