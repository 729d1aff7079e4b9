"""YAML pitfalls, in a file and on the command line."""

import re
from pathlib import Path

import pytest

from benchmark.common.files import REPOSITORY, shown
from benchmark.common.yaml import parse_scalar, read_yaml
from benchmark.errors import ConfigError

SCALARS = {
    "0": 0, "-3": -3, "+7": 7, "1e-5": 1e-5, "1E5": 1e5, "-2.5e+3": -2500.0, ".5": 0.5, "1.": 1.0, "0.0": 0.0,
    "true": True, "False": False, "null": None, "~": None, "": None,
    "a photo of a {}.": "a photo of a {}.",
} | {text: text for text in (
    "yes", "No", "on", "off", "y", "0x1F", "0o17", "1_000", "12:30:45", "2024-01-31", ".inf", ".nan", "1e",
)}  # fmt: skip


def write(folder: Path, text: str, *, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def same(left: object, right: object) -> bool:
    return type(left) is type(right) and left == right


@pytest.mark.parametrize(("text", "value"), SCALARS.items())
def test_scalar_means_the_same_in_a_file_and_on_the_command_line(tmp_path, text, value):
    assert same(read_yaml(write(tmp_path, f"key: {text}\n"))["key"], value)
    assert same(parse_scalar(text), value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("[1e-5, yes, null]", [1e-5, "yes", None]), ("{a: 1}", {"a": 1}), ('"010"', "010"), ("'null'", "null"),
     ('"{} in a photo."', "{} in a photo."), ("  2 ", 2)]
    + [(text, text) for text in ("a: b", "a photo # 1", "# x", "- x", "!!int 3", "*a")],
)  # fmt: skip
def test_command_line_value_is_yaml_if_bracketed_and_whole_text_otherwise(text, value):
    assert same(parse_scalar(text), value)


@pytest.mark.parametrize("text", ["{} in a photo.", "[1, 2", '"open', "'a' b", "[1] 2"])
def test_command_line_value_that_does_not_close_is_refused_with_advice(text):
    with pytest.raises(ConfigError, match=r"cannot be read as one.*quotes inside"):
        parse_scalar(text)


@pytest.mark.parametrize("text", ["010", "-07", "00", "[1, 010]"])
def test_leading_zero_is_refused_and_both_advised_spellings_work(text):
    with pytest.raises(ConfigError, match="begins with a zero") as error:
        parse_scalar(text)
    number, quoted = re.search(r'write (\S+) for the number, ("\S+") in quotes', str(error.value)).groups()
    assert isinstance(parse_scalar(number), int)
    assert parse_scalar(quoted) == quoted.strip('"')


def test_overflowing_number_is_refused_because_infinity_is_no_setting(tmp_path):
    with pytest.raises(ConfigError, match=r"recipe\.yaml:1: 12e4567 is too large"):
        read_yaml(write(tmp_path, "split: 12e4567\n"))  # a short hash can look like this


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' is given twice, on lines 1 and 3"),
        ("outer:\n  k: 1\n  k: 2\n", 3, "'k' is given twice, on lines 2 and 3"),
        ("1: a\ntrue: b\n", 2, "'true' is given twice"),
        ("a: 1\nb: 010\n", 2, "010 begins with a zero"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "tags"),
        ("a: !mine {b: 1}\n", 1, "tags"),
        ("a: &x\n  b: *x\n", 1, "found unconstructable recursive node"),
        ("a: *nowhere\n", 1, "undefined alias"),
        ("a: &x 1\nb: &x 2\n", 2, "duplicate anchor"),
        ("[a, b]: 1\n", 1, "a key is text or a number"),
        ("just words\n", 1, "holds a str at its top level"),
        ("a: [1, 2\n", 2, "expected ',' or ']'"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
    ],
)
def test_bad_yaml_is_refused_with_file_and_line(tmp_path, text, line, words):
    with pytest.raises(ConfigError) as error:
        read_yaml(write(tmp_path, text))
    assert f"recipe.yaml:{line}: " in str(error.value)
    assert words in str(error.value)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n"])
def test_empty_file_is_an_empty_mapping(tmp_path, text):
    assert read_yaml(write(tmp_path, text)) == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\ufeffa: &seeds [1, 2]\nb: *seeds\n", {"a": [1, 2], "b": [1, 2]}),
        ("a: &a {x: 1}\nb: {<<: *a}\n", {"a": {"x": 1}, "b": {"<<": {"x": 1}}}),
        ("epochs: {1: 50, 16: 200}\n", {"epochs": {1: 50, 16: 200}}),
        ('note: "a\\n b\\tc \\u2265 é 中 🦊"', {"note": "a\n b\tc ≥ é 中 🦊"}),
    ],
    ids=["byte order mark and aliases", "a merge key merges nothing", "integer keys", "any letters"],
)
def test_files_are_read_as_they_are_written(tmp_path, text, value):
    assert read_yaml(write(tmp_path, text)) == value


def test_unreadable_file_is_refused_by_name(tmp_path):
    for content, words in ((b"a: \xff\xfe\n", "is not UTF-8 text"), (b"a: \x07\n", "YAML does not allow character 4")):
        (tmp_path / "recipe.yaml").write_bytes(content)
        with pytest.raises(ConfigError, match=rf"recipe\.yaml: {words}"):
            read_yaml(tmp_path / "recipe.yaml")
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match=rf"{path.name}: cannot be read"):
            read_yaml(path)


def test_path_in_messages_is_relative_inside_the_repository_only(tmp_path):
    assert shown(REPOSITORY / "methods" / "coop.yaml") == "methods/coop.yaml"
    assert shown(tmp_path / "coop.yaml") == str(tmp_path / "coop.yaml")


@pytest.mark.parametrize("escape", [r"\x00", r"\x07", r"\e", r"\x7f", r"\x9b", r"\ud800", r"\udfff"])
def test_escapes_of_unprintable_characters_are_refused(tmp_path, escape):
    for text in (f'note: "a{escape}b"', f'"key{escape}": 1', f'[["{escape}"]]'):
        (tmp_path / "suite.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"suite\.yaml:1: text holds"):
            read_yaml(tmp_path / "suite.yaml")
    with pytest.raises(ConfigError, match="text holds"):
        parse_scalar(f'"{escape}"')
