"""`python -m tables`: renders what is stored, without torch, and says what is wrong."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.records import save
from tables.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stored(tmp_path, record):
    """Four records on disk; the folder that --from takes."""
    for method in ("zero_shot", "coop"):
        for dataset in ("dtd", "eurosat"):
            save(record(method, dataset, 60, 50), tmp_path, predictions={}, learned=None)
    return tmp_path / "paper" / "base2new"


def test_tables_are_rendered_beside_the_records(stored, capsys):
    assert main(["--from", str(stored)]) == 0
    assert (stored.parent / "base2new.md").is_file()
    assert (stored.parent / "base2new.tex").is_file()
    out = capsys.readouterr().out
    assert "| DTD" in out
    assert "Published values" in out, "the paper's suite shows them"


def test_format_out_and_choice_are_obeyed(stored, tmp_path):
    out = tmp_path / "elsewhere"
    assert (
        main(["--from", str(stored), "--format", "latex", "--out", str(out), "--datasets", "dtd", "--no-published"])
        == 0
    )
    assert [path.name for path in out.iterdir()] == ["base2new.tex"]
    text = (out / "base2new.tex").read_text()
    assert "EuroSAT" not in text
    assert "published" not in text


def test_tables_render_where_torch_cannot_be_imported(stored):
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'accelerate'): sys.modules[name] = None\n"
        "from tables.__main__ import main\n"
        f"sys.exit(main(['--from', {str(stored)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_empty_folder_says_what_to_run(tmp_path, capsys):
    assert main(["--from", str(tmp_path)]) == 2
    assert "python run_all.py --protocol base2new" in capsys.readouterr().err


def test_damaged_record_is_left_out_and_named(stored, capsys):
    path = next(stored.rglob("*.json"))
    path.write_text(path.read_text()[:100])
    assert main(["--from", str(stored)]) == 0
    assert path.name in capsys.readouterr().err


def test_mixed_records_are_refused(stored, tmp_path, record, capsys):
    save(record("coop", "dtd", 60, 50, shots=8), tmp_path, predictions={}, learned=None)
    assert main(["--from", str(stored)]) == 2
    assert "differ in shots" in capsys.readouterr().err


def test_unknown_name_gives_the_nearest(stored, capsys):
    assert main(["--from", str(stored), "--methods", "cop"]) == 2
    assert "Did you mean 'coop'" in capsys.readouterr().err


def test_predictions_beside_records_are_no_records(stored, tmp_path, record):
    predictions = {name: np.zeros(10000, dtype=np.int64) for name in ("base", "new")}
    save(record("coop", "ucf101", 60, 50), tmp_path, predictions=predictions, learned=b"")
    assert main(["--from", str(stored)]) == 0
