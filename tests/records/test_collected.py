"""A folder of records: all of them are found, each counts once, and what is none is named."""

from benchmark.records.store import collect, of_other_code, save_failure
from tests.records.test_record import make_record, make_spec, put


def test_collect_finds_records_only_and_names_what_is_none(tmp_path):
    ours = [make_record(make_spec(seed=seed, dataset=dataset)) for dataset in ("dtd", "eurosat") for seed in (1, 2)]
    paths = [put(tmp_path, record) for record in reversed(ours)]
    save_failure(make_spec(seed=3), tmp_path, "boom")
    (paths[0].parent / f".{paths[0].name}.123.abcd.tmp").write_text("{")
    (paths[0].parent / f"._{paths[0].name}").write_text("{")
    (tmp_path / "synthetic" / "table.md").write_text("| a |")
    (tmp_path / "synthetic" / "notes.json").write_text("{}")
    found, problems = collect(tmp_path)
    assert sorted(record.spec.label() for record in found) == sorted(record.spec.label() for record in ours)
    assert [r.spec for r in found] == [r.spec for r in sorted(found, key=lambda r: r.spec.record_path(tmp_path))]
    assert len(problems) == 1 and "notes.json: is not a record" in problems[0]
    below, _ = collect(paths[-1].parent)
    assert {record.spec for record in below} == {record.spec for record in ours[:2]}


def test_copied_record_counts_once(tmp_path):
    path = put(tmp_path)
    copy = tmp_path / "synthetic" / "copy" / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    found, problems = collect(tmp_path)
    assert found == [make_record()] and len(problems) == 1 and "repeats" in problems[0]


def test_collect_of_absent_folder_says_so(tmp_path):
    assert collect(tmp_path / "none") == ([], [f"{tmp_path / 'none'}: no such folder; nothing is recorded there."])
    assert collect(tmp_path) == ([], [])


def test_records_of_another_version_of_a_plugin_are_counted(tmp_path):
    for code in ("a" * 16, "b" * 16, "c" * 16):
        put(tmp_path, make_record(make_spec(method="mine", plugin=code)))
    put(tmp_path)
    now = [make_spec(), make_spec(method="mine", plugin="c" * 16), make_spec(method="mine", plugin="c" * 16, seed=2)]
    assert of_other_code(now, tmp_path) == {tmp_path / "synthetic" / "base2new" / "mine": 2}
    assert of_other_code([make_spec()], tmp_path) == {}
