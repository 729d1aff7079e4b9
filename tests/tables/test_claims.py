"""Claims: verdicts of each kind on hand-made accuracies, claims that cannot be judged, and invalid claim files."""

import re

import pytest

from benchmark.common.config import Training, load_suite, read_yaml
from benchmark.errors import ConfigError, RecordError
from tables.claims import judge as claims
from tables.claims.rules import SHEET, Claim, load_claims, mirrors

ELEVEN = load_suite("paper").datasets
SIX = ("zero_shot", "coop", "cocoop", "kgcoop", "prograd", "copl")
GOOD = dict(says="s", source="t", protocol="base2new", class_set="new", kind="above_on", method="copl", others=["coop"],
            dataset="dtd")  # fmt: skip


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
    return Claim(id="c", **GOOD | {"kind": kind, "others": others, "dataset": None} | fields)


def verdict(records, of):
    return claims.judge(records, [of])[0]


def test_shipped_claims_are_judged_from_complete_base_to_new_records(new):
    shipped = {c.id: c for c in load_claims()}
    assert (shipped["ucf101-gain-over-coop"].figure, shipped["ucf101-gain-over-coop"].source) == (20.6, "article")
    datasets = (*ELEVEN, "mine")  # a dataset of a user is left out
    records = new({m: on(*((60, 61, 62) if m == "copl" else (50, 51, 52)), datasets=datasets) for m in SIX})
    assert {v.claim.id: v.outcome for v in claims.judge(records)} == {
        "copl-best-on-new": "holds", "copl-best-on-base": "does not hold", "coop-forgets": "does not hold",
        "ucf101-gain-over-coop": "does not hold", "texture-gain": "holds", "eurosat-weak": "does not hold",
        "copl-transfers-better": "not measured", "objects-to-textures": "not measured", "one-shot": "not measured",
    }  # fmt: skip


@pytest.mark.parametrize("copl, outcome", [(61, "holds"), (60, "does not hold"), (59, "does not hold")])
def test_above_on_compares_with_the_best_other_and_a_tie_is_not_above(new, copl, outcome):
    records = new({"copl": {"dtd": [copl]}, "coop": {"dtd": [60]}, "cocoop": {"dtd": [10]}})
    assert verdict(records, claim("above_on", ("coop", "cocoop"), dataset="dtd")).outcome == outcome
    opposite = {"holds": "does not hold", "does not hold": "holds"}[outcome]
    assert verdict(records, claim("does_not_lead_on", ("coop", "cocoop"), dataset="dtd")).outcome == opposite


@pytest.mark.parametrize(
    "seeds, outcome",
    [((70.6,), "holds"), ((68.7,), "holds"), ((72.7,), "does not hold"), ((20, 50, 80), "does not hold")],
)
def test_gain_about_a_figure_holds_within_its_tolerance_whatever_the_interval(new, seeds, outcome):
    records = new({"copl": {"ucf101": seeds}, "coop": {"ucf101": [50] * len(seeds)}})
    found = verdict(records, claim("gain_about", dataset="ucf101", figure=20.6, tolerance=2.0))
    assert found.outcome == outcome
    assert re.match(r"gain \+\d+\.\d\d, claimed 20.60 ± 2.00", found.measured)


@pytest.mark.parametrize(
    "judged, share, ahead, outcome",
    [(11, 0.7, 8, "holds"), (11, 0.7, 7, "does not hold"), (6, 0.5, 4, "holds"), (6, 0.5, 3, "does not hold")],
)
def test_majority_is_a_share_and_more_than_half_of_the_judged_datasets(new, judged, share, ahead, outcome):
    datasets = ELEVEN[:judged]
    coop = on(50, datasets=datasets[:ahead]) | on(70, datasets=datasets[ahead:])
    found = verdict(new({"copl": on(60, datasets=datasets), "coop": coop}), claim("above_on_most", share=share))
    assert found.outcome == outcome
    assert f"above on {ahead} of {judged} datasets, {8 if judged == 11 else 4} are needed" in found.measured


def test_claim_about_datasets_needs_more_than_half_of_them(new):
    five, six = (new({m: on(v, datasets=ELEVEN[:n]) for m, v in (("copl", 60), ("coop", 50))}) for n in (5, 6))
    few = verdict(five, claim("average_above"))
    assert (few.outcome, few.test) == ("not measured", "")
    assert "5 of 11 datasets; at least 6 are needed" in few.measured
    enough = verdict(six, claim("average_above"))
    assert enough.outcome == "holds"
    assert verdict(six, claim("average_below")).outcome == "does not hold"
    assert enough.measured == "CoPL 60.00, CoOp 50.00"
    assert enough.judged.startswith("6 of 11 datasets; without FGVCAircraft")


def test_claim_without_records_or_common_seeds_is_not_measured(new):
    records = new({"copl": on(60), "kgcoop": on(50)})
    assert verdict(records, claim("average_above", ("coop", "kgcoop", "prograd"))).measured == (
        "no record of CoOp, ProGrad"
    )
    found = verdict(new({"copl": {"dtd": [1]}, "coop": {"eurosat": [1]}}), claim("above_on", dataset="dtd"))
    assert (found.outcome, found.judged) == ("not measured", "DTD, 0 of 1 dataset")
    assert "no seed of DTD" in found.measured


@pytest.mark.parametrize("copl, other, values", [((60, 60, 90), "coop", (65, 65)), ((60, 62), "zero_shot", (61.5,))])
def test_only_common_seeds_count_and_an_untrained_method_fits_any(new, copl, other, values):
    found = verdict(new({"copl": {"dtd": copl}, other: {"dtd": values}}), claim("above_on", (other,), dataset="dtd"))
    assert (found.outcome, found.seeds) == ("does not hold", (1, 2))


def test_paired_test_is_over_the_seeds_of_a_dataset_or_over_datasets(new):
    records = new({"copl": on(60, 63, 61), "coop": on(58, 60, 60), "cocoop": on(10, 20, 30)})
    single = verdict(records, claim("above_on", ("coop", "cocoop"), dataset="dtd")).test
    assert re.fullmatch(r"CoPL minus CoOp: \+2\.00 over 3 seeds, 95 % interval .* p [=<] 0\.\d{3}", single)
    assert "over 11 datasets" in verdict(records, claim("average_above", ("coop", "cocoop"))).test
    one_seed = new({"copl": {"dtd": [60]}, "coop": {"dtd": [50]}})
    assert verdict(one_seed, claim("above_on", dataset="dtd")).test == "CoPL minus CoOp: +10.00 on one seed, no test"


def test_few_shot_and_transfer_claims_read_records_of_their_shots_and_source(few, transfer):
    shipped = {c.id: c for c in load_claims()}
    records = [few(m, d, v, shots=16) for m, v in (("copl", 99), ("cocoop", 1)) for d in ELEVEN]
    assert verdict(records, shipped["one-shot"]).outcome == "not measured"
    records += [few(m, d, v, shots=1) for m, v in (("copl", 50), ("cocoop", 60)) for d in ELEVEN]
    assert verdict(records, shipped["one-shot"]).outcome == "does not hold"

    def both(source):
        names = sorted(ELEVEN, key=lambda name: name != source)
        ahead = dict.fromkeys(ELEVEN[2:8], 50)  # six targets
        return [transfer("copl", dict.fromkeys(names, 60)), transfer("cocoop", dict.fromkeys(names, 60) | ahead)]

    majority = shipped["copl-transfers-better"]
    assert verdict(both("imagenet"), majority).outcome == "not measured"
    found = verdict(both("caltech101") + both("imagenet"), majority)
    assert (found.outcome, found.judged) == ("holds", "10 of 10 datasets")


def test_embedded_datasets_count_as_those_that_they_mirror(new):
    names = [name for name, mirror in mirrors().items() if mirror["mirrors"] in ELEVEN]
    records = new({"copl": on(60, datasets=names), "coop": on(50, datasets=names)}, suite="synthetic")
    assert verdict(records, claim("average_above")).judged == "11 of 11 datasets"
    found = verdict(records, claim("above_on", dataset="dtd"))
    assert found.judged == "Textures (for DTD), 1 of 1 dataset"
    caption = claims.grid([found], records, note="A note.").caption
    assert claims.MIRRORED in caption
    assert caption.endswith("A note.")
    real = new({"copl": {"dtd": [60]}, "coop": {"dtd": [50]}})
    caption = claims.grid(claims.judge(real), real).caption
    assert claims.MIRRORED not in caption and "random view" not in caption
    repeated = new({"copl": {"dtd": [60]}}, training=Training(epochs=10, batch_size=1, views=1))
    assert "Trained on at most 1 random view of each" in claims.grid(claims.judge(repeated), repeated).caption


def test_file_has_claim_verdict_numbers_seeds_and_source(new, tmp_path):
    text = claims.write(new({"copl": on(60, 61), "coop": on(50, 51)}), tmp_path).read_text()
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    for part in ("does not hold", "+10.00", "20.60 ± 2.00", "UCF101, 1 of 1 dataset", "1, 2", "2 seeds", "article"):
        assert part in rows["ucf101-gain-over-coop"]
    assert "no record of CoCoOp" in rows["texture-gain"]


def write_claim(path, fields, before=""):
    """Write a claims file that ends with the claim `mine`."""
    path.write_text(before + "mine:\n" + "".join(f"  {key}: {value}\n" for key, value in fields.items()))
    return path


def test_claim_of_a_user_is_judged_and_its_records_must_be_comparable(tmp_path, new):
    path = write_claim(tmp_path / "claims.yaml", GOOD, before=SHEET.read_text())
    records = new({"copl": {"dtd": [2]}, "coop": {"dtd": [1]}})
    found = claims.judge(records, load_claims(path))
    assert len(found) == 1 + len(read_yaml(SHEET))
    assert (found[-1].claim.id, found[-1].outcome) == ("mine", "holds")
    with pytest.raises(RecordError, match=r"copl/dtd.*coop/dtd.*backbone"):
        claims.judge(records[:1] + new({"coop": {"dtd": [1]}}, backbone="other"), load_claims(path))


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
def test_invalid_claim_is_refused_with_its_name_and_file(tmp_path, change, message):
    with pytest.raises(ConfigError) as caught:
        load_claims(write_claim(tmp_path / "claims.yaml", GOOD | change))
    for part in (message, "claim 'mine'", "claims.yaml"):
        assert part in str(caught.value)
