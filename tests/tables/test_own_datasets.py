"""Datasets that no catalogue knows: tables, figures, claims and the report show them by their own names."""

import pytest

from tables.aggregate import dataset_titles
from tables.claims import judge as claims
from tables.protocols import writers
from tables.report import report

METHODS = ("zero_shot", "coop", "cocoop", "kgcoop", "prograd", "copl")


@pytest.fixture
def records(scored):
    """A run of every method and protocol on `mine` and on DTD, and from `mine` to both."""
    found = []
    for place, method in enumerate(METHODS):
        for name in ("mine", "dtd"):
            found.append(scored(method, name, {"base": 70 + place, "new": 60 + place}))
            found.append(scored(method, name, {"all": 65 + place}, protocol="few_shot"))
        for protocol in ("cross_dataset", "domain_generalization"):
            accuracies, targets = {"mine": 80 + place, "dtd": 40, "other.2": 50}, ("dtd", "other.2")
            targets = {name: "a {}." for name in targets}
            found.append(scored(method, "mine", accuracies, protocol=protocol, targets=targets))
    return found


@pytest.mark.parametrize("published", [True, False])
def test_tables_name_them_by_their_keys(records, tmp_path, published):
    writers.write(records, tmp_path, published=published, titles=dataset_titles())
    for protocol in ("base2new", "few_shot", "cross_dataset", "domain_generalization"):
        assert "mine" in (tmp_path / f"{protocol}.md").read_text()
    assert "other.2" in (tmp_path / "cross_dataset.tex").read_text()


@pytest.mark.slow
def test_report_and_its_figures_show_them_and_its_commands_give_their_option(records, tmp_path):
    report.write(records, tmp_path, published=True, titles=dataset_titles())
    page = (tmp_path / "report.html").read_text()
    assert "--data FOLDER --dataset mine=PATH" in page
    assert "--dataset mine=PATH --dataset other.2=PATH --methods" in page
    drawn = [path.read_text() for path in (tmp_path / "figures").glob("*.svg")]
    assert any("mine" in picture for picture in drawn)
    assert any("other.2" in picture for picture in drawn)


def test_claims_leave_them_out(records):
    verdicts = {verdict.claim.id: verdict for verdict in claims.judge(records)}
    without = {v.claim.id: v for v in claims.judge([r for r in records if r.spec.dataset == "dtd"])}
    assert verdicts == without
    assert verdicts["texture-gain"].outcome == "holds"
