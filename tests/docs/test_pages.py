"""The runner of pages: what it does with each marker, and what it does not let pass."""

from pathlib import Path

import pytest

from tests.helpers import pages
from tests.helpers.pages import in_this_process, run_page


@pytest.fixture
def follow(tmp_path, monkeypatch):
    """follow(text): what running a page of this text prints; nothing of the checkout is copied."""
    monkeypatch.setattr(pages, "COPIED", ())
    (tmp_path / "scratch").mkdir()

    def run(text):
        (tmp_path / "page.md").write_text(text)
        return run_page(tmp_path / "page.md", tmp_path / "scratch")

    return run


def block(marker, text, language="bash"):
    return f"Words.\n\n{marker}\n```{language}\n{text}\n```\n"


def test_files_are_written_and_commands_run_in_their_order(follow):
    text = block("<!-- file: deep/names.txt -->", "one\ntwo", "text") + block("<!-- run -->", "cat deep/names.txt")
    assert follow(text + block("<!-- output -->", "two", "text")) == "one\ntwo\n"


def test_python_of_a_page_is_the_one_that_runs_the_tests(follow):
    assert "pytest" in follow(block("<!-- run -->", "python -c 'import pytest; print(pytest.__name__)'"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (block("<!-- run -->", "false; true"), "exit code 1, not 0"),
        (block("<!-- run: exit 2 -->", "true"), "exit code 0, not 2"),
        (block("<!-- run -->", "echo one") + block("<!-- output -->", "one\nthree", "text"), "not printed: .'three'"),
        (block("<!-- run -->", "true") + block("", "rm -r everything"), "mark this block"),
        (block("<!-- file: a.txt -->", "a", "text"), "no command is marked"),
        (block("<!-- run -->", "true") + block("<!-- message -->", "the ... is blue", "text"), "no source file says"),
    ],
)
def test_what_a_page_gets_wrong_is_told(follow, text, message):
    with pytest.raises(AssertionError, match=message):
        follow(text)


def test_message_of_the_source_is_known_by_its_fixed_words(follow):
    text = block("<!-- message -->", "--data ...: there is no such folder. Its layout is in docs/data.md.", "text")
    assert follow(block("<!-- run -->", "true") + text) == ""


def test_commands_of_the_project_run_in_this_process_and_only_the_last_may_fail(tmp_path, monkeypatch):
    monkeypatch.setattr(pages.run_all, "main", lambda words: print(Path.cwd().name, *words) or len(words) - 1)
    commands = "echo one\npython run_all.py --plan\npython run_all.py --seeds '1 2'"
    assert in_this_process(commands, tmp_path, 1) == f"one\n{tmp_path.name} --plan\n{tmp_path.name} --seeds 1 2\n"
    for code, more in ((0, ""), (1, "\necho late"), (2, "")):
        with pytest.raises(AssertionError, match="exit code 1, not"):
            in_this_process(commands + more, tmp_path, code)


def test_failure_that_a_page_announces_is_none(follow):
    assert follow(block("<!-- run: exit 2 -->", "echo sorry >&2; exit 2")) == "sorry\n"
