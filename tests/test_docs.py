"""The pages of docs/ that lead somewhere: their commands are run as a reader would."""

from pathlib import Path

import pytest

from tests.pages import run_page

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.slow
def test_own_data_page_leads_to_a_row_in_every_table(tmp_path):
    run_page(DOCS / "your-own-data.md", tmp_path)
    tables = {path.stem: path.read_text() for path in (tmp_path / "mine" / "results").glob("*/*.md")}
    assert "shapes" in tables["few_shot"]
    assert "| prepared " in tables["base2new"]
    assert "dark" in tables["cross_dataset"]
    assert "dark" in tables["domain_generalization"]
    written = {path.name for path in (tmp_path / "mine" / "shapes").iterdir() if path.is_file()}
    assert written == {"dataset.yaml"}, "nothing but what the page itself puts there"
