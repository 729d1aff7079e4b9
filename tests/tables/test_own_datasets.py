"""Datasets without a catalog entry: tables, claims and the report show them by their names."""

import pytest

from tables.claims import judge as claims
from tables.protocols import writers
from tables.rendering.options import TableOptions
from tables.report import report

OPTIONS = TableOptions.of_suite(None, published=True)


@pytest.fixture
def records(scored):
    """A run of every method and protocol on `mine` and on DTD, and from `mine` to both."""
    found = []
    for index, method in enumerate(("zero_shot", "coop", "cocoop", "kgcoop", "prograd", "copl")):
        for name in ("mine", "dtd"):
            found.append(scored(method, name, {"base": 70 + index, "new": 60 + index}))
            found.append(scored(method, name, {"all": 65 + index}, protocol="few_shot"))
        targets = {name: "a {}." for name in ("dtd", "other.2")}
        for protocol in ("cross_dataset", "domain_generalization"):
            accuracies = {"mine": 80 + index, "dtd": 40, "other.2": 50}
            found.append(scored(method, "mine", accuracies, protocol=protocol, targets=targets))
    return found


def test_tables_show_their_names(records, tmp_path):
    writers.write(records, tmp_path, OPTIONS)
    for protocol in ("base2new", "few_shot", "cross_dataset", "domain_generalization"):
        assert "mine" in (tmp_path / f"{protocol}.md").read_text()
    assert "other.2" in (tmp_path / "cross_dataset.tex").read_text()


@pytest.mark.slow
def test_report_shows_their_names_and_its_commands_their_option(records, tmp_path):
    report.write(records, tmp_path, OPTIONS)
    page = (tmp_path / "report.html").read_text()
    assert "--data FOLDER --dataset mine=PATH" in page
    assert "--dataset mine=PATH --dataset other.2=PATH --methods" in page
    figures = "".join(path.read_text() for path in (tmp_path / "figures").glob("*.svg"))
    assert "mine" in figures
    assert "other.2" in figures


def test_claims_leave_them_out(records):
    verdicts = claims.judge(records)
    assert verdicts == claims.judge([r for r in records if r.spec.dataset == "dtd"])
    assert {verdict.claim.id: verdict.outcome for verdict in verdicts}["texture-gain"] == "holds"
