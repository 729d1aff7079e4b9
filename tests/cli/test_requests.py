"""Wrong requests: one message, exit code 2, nothing written; and what the command line offers."""

import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS

import benchmark
import benchmark.__main__
import run_all
from benchmark.cli.parser import VERBS, parse, parse_verb, run_parser, to_markdown
from benchmark.records.trackers import NAMES

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--datasets", "synth_actions", "--seeds", "1", "--shots", "2"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--protocol", "base2nw"], "Did you mean 'base2new'?"),
        (["--methods", "cocop"], "'cocop' is not a method. Did you mean 'cocoop'?"),
        (["--datasets", "synth_texture"], "Did you mean 'synth_textures'? Add a custom one with --dataset"),
        (["--protocol", "cross_dataset", "--source", "synth_thing"], "Did you mean 'synth_things'?"),
        (["--protocol", "few_shot", "--source", "synth_things"], "few_shot has no source to choose"),
        (["--protocol", "cross_dataset", "--shots", "1", "2"], "cross_dataset takes one number of shots"),
        (["--datasets", "dtd"], "give --data FOLDER"),
        (["--seeds", "-1"], "a seed is 0 or more"),
        (["--seeds", "1", "1"], "names one twice"),
        (["--views", "0"], "--views 0: must be a whole number, 1 or more"),
        (["--views", "-1"], "--views -1: must be a whole number, 1 or more"),
        (["--set", "coop.views=2"], "coop: 'views' is not an option"),
        (["--shots", "one"], "--shots one: whole numbers are needed"),
        (["--suite", "synthetc"], "suite 'synthetc' is unknown. Did you mean 'synthetic'?"),
        (["--backbone", "./nowhere"], "there is no such folder"),
        (["--data", "/nowhere/at/all"], "there is no such folder"),
        (["--device", "abacus"], "not a device"),
        (["--set", "coop.epoch=2"], "'epoch' is not an option. Did you mean 'epochs'?"),
        (["--set", "coop.epochs=0", "--methods", "coop"], "at least 1"),
        (["--set", "coop.epochs=two"], "'epochs' must be"),
        (["--set", "taskres.alpha=much", "--methods", "taskres"], "'alpha' must be"),
        (["--methods", "zero_shot", "--set", "coop.epochz=2"], "'epochz' is not an option. Did you mean 'epochs'?"),
        (["--set", "cop.epochs=2"], "'cop' is not a method"),
        (["--set", "epochs=2"], "write METHOD.KEY=VALUE"),
        (["--set", "coop.epochs=2", "--set", "coop.epochs=3"], "is given twice"),
        (["--set", "coop.n_ctx=2", "--set", "coop.ctx_init=a photo of a"], "has 4 words, but n_ctx is 2"),
        (["--load", "coop="], "write METHOD=PATH"),
        (["--load", "coop=a", "--load", "coop=b"], "--load coop is given twice"),
        (["--set", "coop.epochs=1000000000000"], "'epochs' must be at most 1000000, got"),
        (["--set", "coop.ctx_init="], "--set coop.ctx_init=: there is no value"),
        (["--set", "coop.epochs=[1"], "--set coop.epochs: value '[1' begins like a list"),
        (
            ["--methods", "coop", "--set", "coop.n_ctx=100"],
            "template or the context (n_ctx)",
        ),
        (["--methods", "coop", "--set", "coop.n_ctx=1000000000000"], "n_ctx is 1000000000000; give at least 1"),
        (["--seeds", str(2**63)], f"{2**63} is too large"),
        (["--data", __file__], "is a file; give the folder"),
        (["--suite", str(ROOT / "docs")], "is a folder. Give the path of a .yaml file"),
        (["--plugin", str(ROOT)], "is a folder. Give the .py file"),
        (["--out", f"{__file__}/below"], "a file is in the way. Give a folder"),
        (["--deep"], "belongs to `python -m benchmark doctor`"),
        (["--doctor", "--methods", "cop"], "'cop' is not a method"),
        (["--imagenet", "x"], "belong to `python -m benchmark download NAME`"),
    ],
)
def test_bad_request_is_one_message_and_exit_code_2(tmp_path, capsys, arguments, message):
    given = {word for word in arguments if word.startswith("--")}
    small = [w for name, value in zip(SMALL[::2], SMALL[1::2], strict=True) if name not in given for w in (name, value)]
    assert run_all.main([*small, "--out", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import run_all; run_all.main(['--set', 'coop.n_ctxx=4'])", ["numpy"]),
        ("import benchmark; benchmark.collect, benchmark.method_names()", ["numpy"]),
        (f"import run_all; run_all.main({['--plan', *SMALL]})", ["torch", "accelerate", "pandas", "numpy", "PIL"]),
        ("import tables.__main__", ["numpy"]),
        ("import benchmark.data.catalog, benchmark.data.custom.dataset, benchmark.protocols.registry", []),
        ("import benchmark.common.config, benchmark.common.provenance, benchmark.plugins.discovery", []),
    ],
)
def test_nothing_slow_is_imported_before_it_is_needed(code, allowed):
    slow = {"torch", "transformers", "accelerate", "pandas", "scipy", "matplotlib", "jinja2", "numpy", "PIL"}
    code = f"import sys; {code}; print(*{slow - {*allowed}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)
    assert done.stdout.splitlines()[-1:] == [""], done.stdout


@pytest.mark.slow
def test_missing_package_is_one_message_that_says_how_to_install_it():
    code = "import sys; sys.modules['torch'] = None; import run_all; sys.exit(run_all.main(['--plan']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.endswith("requirements.txt\n")


def test_help_has_one_short_line_for_each_option(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    lines = run_parser().format_help().partition("what to run:")[2].splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert not [line for line in lines if line.startswith(" " * 10)], "a text that takes a second line"


def test_verbs_are_what_the_flags_were():
    plan = parse_verb(["plan", *SMALL])
    assert vars(plan) == {**vars(parse(["--plan", *SMALL])), "words": SMALL, "verb": "plan"}
    fetch = parse_verb(["download", "dtd", "eurosat", "--data", "d", "--plan"])
    assert (fetch.download, fetch.data, fetch.plan) == (["dtd", "eurosat"], Path("d"), True)
    assert parse_verb(["doctor", "--deep", "--json"]).doctor
    assert parse_verb(["export", "r.json"]).export == Path("r.json")
    assert parse_verb(["new-method", "mine"]).new_method == Path("mine")


def test_package_without_a_verb_prints_its_help(capsys):
    assert benchmark.__main__.main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in VERBS)


def test_views_that_are_not_a_number_are_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        run_all.main(["--views", "ten"])
    assert "argument --views: invalid int value: 'ten'" in capsys.readouterr().err


def test_unknown_option_is_answered_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as ended:
        run_all.main(["--datset", "x"])
    assert ended.value.code == 2
    assert "did you mean --dataset?" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--methods", ""], ["--out", ""], ["--datasets", "coop", " "], ["--seeds", ","]])
def test_empty_value_is_refused(capsys, words):
    with pytest.raises(SystemExit, match="2"):
        run_all.main(words)
    assert ": its value is empty; give one or leave the option out" in capsys.readouterr().err


@pytest.mark.slow
def test_closed_output_ends_the_command_without_a_traceback():
    command = [sys.executable, "run_all.py", "--plan", *SMALL]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()  # as `head` does
    assert (process.stderr.read(), process.wait()) == ("", 128 + 13)


def test_page_of_options_is_the_parsers():
    assert (ROOT / "docs" / "command-line.md").read_text() == to_markdown()


def test_public_names_are_imported_when_asked_for():
    assert {"collect", "create_method", "load_clip", "method_names", "run"} <= set(dir(benchmark))
    assert callable(benchmark.run) and callable(benchmark.load_clip)
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        benchmark.runn  # noqa: B018


def test_names_of_trackers_are_those_of_accelerate():
    assert set(NAMES) == set(LOGGER_TYPE_TO_CLASS)
