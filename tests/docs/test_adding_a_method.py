"""docs/adding-a-method.md leads from nothing to a row of the table: its commands are run as a reader would."""

from pathlib import Path

import pytest

from tests.helpers.pages import run_page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-method.md"


@pytest.mark.slow
def test_page_leads_to_a_row_in_every_table_from_a_file_and_from_a_package(tmp_path):
    run_page(PAGE, tmp_path)
    results = tmp_path / "results"
    for out in ("synthetic", "anchor-0.0/synthetic", "anchor-10.0/synthetic", "small/synthetic"):
        assert r"my\_method" in (results / out / "base2new.md").read_text()
    for protocol in ("few_shot", "cross_dataset"):
        assert r"my\_method" in (results / "small" / "synthetic" / f"{protocol}.md").read_text()
    assert r"held\_context" in (results / "installed" / "synthetic" / "base2new.md").read_text()
