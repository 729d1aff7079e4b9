"""`python -m tables`: rendering of stored records, without torch, and its messages."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.records.store import save
from tables.__main__ import main
from tables.protocols.writers import GRIDS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stored(tmp_path, record):
    """The folder of base2new with four stored records."""
    for method in ("zero_shot", "coop"):
        for dataset in ("dtd", "eurosat"):
            save(record(method, dataset, 60, 50), tmp_path, predictions={}, learned=None)
    return tmp_path / "paper" / "base2new"


@pytest.mark.parametrize("folder", ["", "coop"])
def test_tables_are_written_into_the_folder_of_the_suite(stored, capsys, folder):
    assert main(["--from", str(stored / folder)]) == 0
    assert {path.name for path in stored.parent.iterdir()} == {"base2new", "base2new.md", "base2new.tex"}
    assert not list(stored.glob("*.md"))
    out = capsys.readouterr().out
    assert "Published values" in out, "the suite of the paper shows them"
    assert "95 %" not in out


def test_options_select_formats_folder_datasets_and_tables(stored, tmp_path):
    out = tmp_path / "elsewhere"
    options = ["--format", "latex", "--out", str(out), "--datasets", "dtd", "--no-published"]
    assert main(["--from", str(stored), *options]) == 0
    assert [path.name for path in out.iterdir()] == ["base2new.tex"]
    text = (out / "base2new.tex").read_text()
    assert "EuroSAT" not in text
    assert "published" not in text
    assert main(["--from", str(stored), "--per-seed", "--interval", "--baseline", "zero_shot"]) == 0
    text = (stored.parent / "base2new.md").read_text()
    for title in ("Base-to-new, 95 % intervals", "Base-to-new, against CLIP", "Base-to-new, CoOp, each seed"):
        assert title in text


@pytest.mark.slow
@pytest.mark.parametrize("module", ["tables.__main__", "tables.report.report"])
def test_tables_and_report_are_written_without_torch(stored, module):
    code = f"""
import sys
for name in ("torch", "transformers", "accelerate", "matplotlib.pyplot"): sys.modules[name] = None
import tables.attention, tables.prompts, {module}
sys.exit({module}.main(["--from", {str(stored.parent)!r}]))"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_empty_folder_names_the_command_of_its_protocol_or_of_all(tmp_path, capsys):
    for protocol in GRIDS:
        folder = tmp_path / "paper" / protocol / "coop"
        folder.mkdir(parents=True)
        assert main(["--from", str(folder)]) == 2
        assert capsys.readouterr().err.endswith(f"holds no record. Run: python run_all.py --protocol {protocol}\n")
    assert main(["--from", str(tmp_path / "nothing")]) == 2
    message = capsys.readouterr().err
    assert "python run_all.py --protocol base2new" in message
    assert all(protocol in message for protocol in (*GRIDS, "all"))


def test_datasets_select_rows_and_source_selects_transfers(stored, tmp_path, few, transfer, capsys):
    save(few("coop", "eurosat", 60, shots=1), tmp_path, predictions={}, learned=None)
    for source in ("imagenet", "caltech101"):
        save(transfer("coop", {source: 95, "dtd": 40}), tmp_path, predictions={}, learned=None)
    assert main(["--from", str(stored.parent)]) == 2
    assert "differ in source" in capsys.readouterr().err
    assert main(["--from", str(stored.parent), "--source", "caltech101", "--datasets", "eurosat"]) == 0
    assert {path.stem for path in stored.parent.glob("*.md")} == {"base2new", "cross_dataset", "few_shot"}
    text = (stored.parent / "cross_dataset.md").read_text()
    assert "trained on Caltech101" in text
    assert "DTD" in text
    assert "DTD" not in (stored.parent / "base2new.md").read_text()
    assert main(["--from", str(stored.parent), "--source", "caltech"]) == 2
    assert "--source caltech: there is no record of it. Did you mean 'caltech101'" in capsys.readouterr().err


@pytest.mark.parametrize("option, name", [("--baseline", "zeroshot"), ("--methods", "zeroshot"), ("--datasets", "dt")])
def test_unknown_name_gives_the_nearest_and_writes_nothing(stored, capsys, option, name):
    assert main(["--from", str(stored), option, name]) == 2
    assert "Did you mean" in capsys.readouterr().err
    assert not (stored.parent / "base2new.md").exists()


def test_unreadable_records_are_left_out_and_predictions_are_not_records(stored, tmp_path, record, capsys):
    predictions = {name: np.zeros(10000, dtype=np.int64) for name in ("base", "new")}
    save(record("coop", "ucf101", 60, 50), tmp_path, predictions=predictions, learned=b"")
    path = next(stored.rglob("*.json"))
    path.write_text(path.read_text()[:100])
    assert main(["--from", str(stored)]) == 0
    error = capsys.readouterr().err
    assert path.name in error
    assert len(error.splitlines()) == 1


def test_names_of_folders_are_read_as_utf8_in_any_locale(stored, tmp_path):
    folder = stored.parent.rename(tmp_path / "r\u00e9sultats")
    plain = {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "tables", "--from", str(folder), "--format", "latex"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | plain, capture_output=True)
    assert done.returncode == 0 and (folder / "base2new.tex").is_file()
    assert done.stdout.decode("ascii").strip().endswith(r"r\xe9sultats/base2new.tex"), "not two unknown bytes"
