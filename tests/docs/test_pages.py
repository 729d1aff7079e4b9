"""Test the runner of pages: what it does with each marker and which mistakes of a page it finds."""

import pytest

from tests.helpers import pages

RUN = "<!-- run -->\n```bash\n{}\n```\n"
FAIL = "<!-- run: exit 2 -->\n```bash\n{}\n```\n"
OUTPUT = "<!-- output -->\n```\n{}\n```\n"
MESSAGE = "<!-- message -->\n```\n{}\n```\n"
FILE = "<!-- file: deep/a -->\n```\none\ntwo\n```\n"


@pytest.fixture
def follow(tmp_path, monkeypatch):
    """follow(text) runs a page with this text, without a copy of the checkout, and returns its output."""
    monkeypatch.setattr(pages, "COPIED", ())
    (tmp_path / "scratch").mkdir()

    def run(text):
        (tmp_path / "page.md").write_text(text)
        return pages.run_page(tmp_path / "page.md", tmp_path / "scratch")

    return run


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        (FILE + RUN.format("cat deep/a"), "one\ntwo\n"),
        (RUN.format("python -c 'import pytest; print(pytest.__name__)'"), "pytest\n"),
        (FAIL.format("echo no >&2; exit 2") + OUTPUT.format("no"), "no\n"),
        (
            RUN.format("true") + MESSAGE.format("--data ...: there is no such folder. Its layout is in docs/data.md."),
            "",
        ),
    ],
)
def test_page_runs_block_by_block(follow, text, printed):
    assert follow(text) == printed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RUN.format("false; true"), "exit code 1, not 0"),
        (FAIL.format("true"), "exit code 0, not 2"),
        (RUN.format("echo one") + OUTPUT.format("one\nthree"), "not printed: .'three'"),
        (RUN.format("true") + "```bash\nrm -r everything\n```\n", "mark this block"),
        (FILE, "no command is marked"),
        (RUN.format("true") + MESSAGE.format("the ... is blue"), "no source file says"),
    ],
)
def test_mistake_of_a_page_fails(follow, text, message):
    with pytest.raises(AssertionError, match=message):
        follow(text)
