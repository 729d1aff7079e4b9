"""`python -m tables`: renders what is stored, without torch, and says what is wrong."""

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


@pytest.mark.parametrize("protocol", GRIDS)
def test_empty_folder_of_a_protocol_says_what_to_run(tmp_path, capsys, protocol):
    for folder in (tmp_path / "paper" / protocol, tmp_path / "paper" / protocol / "coop"):
        folder.mkdir(parents=True)
        assert main(["--from", str(folder)]) == 2
        assert capsys.readouterr().err.endswith(f"holds no record. Run: python run_all.py --protocol {protocol}\n")


def test_empty_or_missing_folder_of_a_suite_names_every_protocol(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "nothing"):
        assert main(["--from", str(folder)]) == 2
        message = capsys.readouterr().err
        assert "python run_all.py --protocol base2new" in message
        assert all(protocol in message for protocol in (*GRIDS, "all"))


def test_all_protocols_of_a_suite_are_rendered_in_its_folder(stored, tmp_path, few, transfer):
    for record in (few("coop", "dtd", 60, shots=1), transfer("coop", {"caltech101": 95, "dtd": 40})):
        save(record, tmp_path, predictions={}, learned=None)
    assert main(["--from", str(stored.parent)]) == 0
    files = {path.name for path in stored.parent.iterdir() if path.is_file()}
    assert files == {
        f"{name}{suffix}" for name in ("base2new", "cross_dataset", "few_shot") for suffix in (".md", ".tex")
    }


def test_one_methods_folder_still_writes_into_the_suites(stored):
    assert main(["--from", str(stored / "coop")]) == 0
    assert (stored.parent / "base2new.md").is_file()
    assert not list(stored.glob("*.md"))


def test_datasets_choose_rows_and_source_chooses_transfers(stored, tmp_path, transfer, capsys):
    for source in ("imagenet", "caltech101"):
        save(transfer("coop", {source: 95, "dtd": 40}), tmp_path, predictions={}, learned=None)
    assert main(["--from", str(stored.parent)]) == 2
    assert "differ in source" in capsys.readouterr().err
    assert main(["--from", str(stored.parent), "--source", "caltech101", "--datasets", "eurosat"]) == 0
    text = (stored.parent / "cross_dataset.md").read_text()
    assert "trained on Caltech101" in text
    assert "DTD" in text
    assert "DTD" not in (stored.parent / "base2new.md").read_text()
    assert main(["--from", str(stored.parent), "--source", "caltech"]) == 2
    assert "--source caltech: no record has it. Did you mean 'caltech101'" in capsys.readouterr().err


def test_statistics_follow_on_request(stored):
    assert main(["--from", str(stored), "--per-seed", "--interval", "--baseline", "zero_shot"]) == 0
    text = (stored.parent / "base2new.md").read_text()
    for title in ("Base-to-new, 95 % intervals", "Base-to-new, against CLIP", "Base-to-new, CoOp, each seed"):
        assert title in text
    main(["--from", str(stored)])
    assert "95 %" not in (stored.parent / "base2new.md").read_text()


def test_unknown_baseline_gives_the_nearest_and_leaves_files_alone(stored, capsys):
    assert main(["--from", str(stored), "--baseline", "zeroshot"]) == 2
    assert "Did you mean 'zero_shot'" in capsys.readouterr().err
    assert not (stored.parent / "base2new.md").exists()


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
