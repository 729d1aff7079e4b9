"""Test the runner of pages: what it does with each marker and which mistakes of a page it finds."""

import pytest

from tests.helpers import pages
from tests.helpers.pages import run_page


@pytest.fixture
def follow(tmp_path, monkeypatch):
    """follow(text) runs a page with this text, without a copy of the checkout, and returns its output."""
    monkeypatch.setattr(pages, "COPIED", ())
    (tmp_path / "scratch").mkdir()

    def run(text):
        (tmp_path / "page.md").write_text(text)
        return run_page(tmp_path / "page.md", tmp_path / "scratch")

    return run


def block(marker, text, language="bash"):
    return f"Words.\n\n{marker}\n```{language}\n{text}\n```\n"


RUN = block("<!-- run -->", "true")


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        (block("<!-- file: deep/a -->", "one\ntwo", "text") + block("<!-- run -->", "cat deep/a"), "one\ntwo\n"),
        (block("<!-- run -->", "python -c 'import pytest; print(pytest.__name__)'"), "pytest\n"),
        (block("<!-- run: exit 2 -->", "echo no >&2; exit 2") + block("<!-- output -->", "no", "text"), "no\n"),
        (RUN + block("<!-- message -->", "--data ...: there is no such folder. Its layout is in docs/data.md."), ""),
    ],
)
def test_page_runs_block_by_block(follow, text, printed):
    assert follow(text) == printed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (block("<!-- run -->", "false; true"), "exit code 1, not 0"),
        (block("<!-- run: exit 2 -->", "true"), "exit code 0, not 2"),
        (block("<!-- run -->", "echo one") + block("<!-- output -->", "one\nthree", "text"), "not printed: .'three'"),
        (RUN + block("", "rm -r everything"), "mark this block"),
        (block("<!-- file: a.txt -->", "a", "text"), "no command is marked"),
        (RUN + block("<!-- message -->", "the ... is blue", "text"), "no source file says"),
    ],
)
def test_mistake_of_a_page_fails(follow, text, message):
    with pytest.raises(AssertionError, match=message):
        follow(text)
