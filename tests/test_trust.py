"""No file that is read or downloaded is executed: calls in the project's code, and malicious checkpoints."""

import ast
import contextlib
import json
import os
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch

from benchmark.clip.backbone import load_clip
from benchmark.common.files import REPOSITORY
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.errors import ConfigError

MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "code",
           "codeop", "runpy", "pty", "xmlrpc", "hickle"}  # fmt: skip
CALLS = {"eval", "exec", "compile", "execfile", "__import__", "os.system", "os.popen", "os.execv", "os.execvp",
         "os.spawnv", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load",
         "yaml.full_load_all", "torch.hub.load", "torch.jit.load", "torch.package.PackageImporter",
         "pandas.read_pickle", "numpy.fromregex", "subprocess.getoutput", "subprocess.getstatusoutput",
         "shutil.unpack_archive", "ElementInclude.include",
         "importlib.import_module", "importlib.__import__"}  # fmt: skip
NEEDED = {"torch.load": "weights_only", "numpy.load": "allow_pickle", "PIL.Image.open": "formats"}
MUST_BE = {"weights_only": True, "allow_pickle": False, "shell": False, "trust_remote_code": False}
NAMED = {  # files that may call one of these
    "benchmark/plugins/importer.py": {"calls importlib.import_module"},  # imports the method that the user named
    "benchmark/common/command.py": {"calls os.execv"},  # starts this program again, in UTF-8
}


def aliases_of(tree: ast.AST) -> dict[str, str]:
    """Names in a file -> what they stand for: {"load": "torch.load"} for `from torch import load`."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def full_name(node: ast.expr, aliases: dict[str, str]) -> str:
    first, dot, rest = ast.unparse(node).partition(".")
    return (aliases.get(first, first) + dot + rest).removeprefix("builtins.")


def problems_of_call(call: ast.Call, aliases: dict[str, str]) -> list[str]:
    name, given = full_name(call.func, aliases), {keyword.arg: keyword.value for keyword in call.keywords}
    problems = [f"calls {name}"] if name in CALLS else []
    if NEEDED.get(name, name) != name and NEEDED[name] not in given:
        problems.append(f"calls {name} without {NEEDED[name]}")
    for keyword in given.keys() & MUST_BE.keys():
        if not (isinstance(given[keyword], ast.Constant) and given[keyword].value is MUST_BE[keyword]):
            problems.append(f"{keyword} must be {MUST_BE[keyword]}")
    if name == "yaml.load" and not {full_name(value, aliases) for value in given.values()} & {"yaml.SafeLoader"}:
        problems.append("calls yaml.load without Loader=yaml.SafeLoader")
    if name.endswith(".from_pretrained") and ".Auto" in f".{name}" and "trust_remote_code" not in given:
        problems.append("an Auto class asks the user about remote code without trust_remote_code=False")
    return problems


def problems_of(source: str) -> list[str]:
    """Describe everything in a source file that could execute data."""
    tree, problems = ast.parse(source), []
    aliases = aliases_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            problems += [alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            problems += [alias.name for alias in node.names if not alias.name.endswith("Error")]  # errors are harmless
        elif isinstance(node, ast.Call):
            problems += problems_of_call(node, aliases)
        elif isinstance(node, ast.ClassDef):
            bases = {full_name(base, aliases) for base in node.bases}
            problems += bases & {"yaml.Loader", "yaml.UnsafeLoader", "yaml.FullLoader"}
    return problems


def test_no_file_of_the_project_executes_what_it_reads():
    files = [path for folder in ("benchmark", "methods", "tables") for path in (REPOSITORY / folder).rglob("*.py")]
    assert len(files) > 70
    found = {path: problems_of(path.read_text("utf-8")) for path in [*files, REPOSITORY / "run_all.py"]}
    assert {name: set(found.pop(REPOSITORY / name)) for name in NAMED} == NAMED
    assert {path: problems for path, problems in found.items() if problems} == {}


@pytest.mark.parametrize(
    "line",
    ["import pickle", "from pickle import loads", "import shelve, os", "eval('1')", "exec(text)", "__import__(name)",
     "import builtins\nbuiltins.exec(text)", "import torch\ntorch.load(p)",
     "import torch\ntorch.load(p, weights_only=flag)", "from torch import load\nload(p)",
     "import torch as t\nt.load(p)", "import numpy as np\nnp.load(p)",
     "import numpy as np\nnp.load(p, allow_pickle=True)",
     "import yaml\nyaml.load(t)", "import yaml\nyaml.load(t, yaml.Loader)", "import yaml\nyaml.unsafe_load(t)",
     "import yaml\nclass L(yaml.UnsafeLoader): pass", "from PIL import Image\nImage.open(p)",
     "import subprocess\nsubprocess.run(c, shell=True)", "import os\nos.system(c)", "AutoConfig.from_pretrained(p)",
     "from transformers import AutoTokenizer\nAutoTokenizer.from_pretrained(p, trust_remote_code=True)",
     "CLIPModel.from_pretrained(p, trust_remote_code=flag)", "CLIPModel.from_pretrained(p, weights_only=False)",
     "import pandas as pd\npd.read_pickle(p)", "from importlib import import_module\nimport_module(name)"],
)  # fmt: skip
def test_line_that_executes_what_it_reads_is_found(line):
    assert problems_of(line)


@pytest.mark.parametrize(
    "line",
    ["import torch\ntorch.load(p, weights_only=True)", "import numpy as np\nnp.load(p, allow_pickle=False)",
     "import yaml\nyaml.load(t, Loader=yaml.SafeLoader)", "import yaml\nyaml.safe_load(t)", "model.eval()",
     "import re\nre.compile(p)", "AutoConfig.from_pretrained(p, trust_remote_code=False)", "import json\njson.load(f)"],
)  # fmt: skip
def test_line_that_only_reads_is_accepted(line):
    assert problems_of(line) == []


class Program:
    """A pickle of this class creates a folder when it is loaded."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the embedded checkpoint, to be damaged."""
    shutil.copytree(CHECKPOINT, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def mark(tmp_path):
    """A path that exists after something was executed."""
    return tmp_path / "executed"


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_clip(folder)
    return str(caught.value)


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_program_in_place_of_weights_is_refused_and_not_run(checkpoint, mark, save):
    (checkpoint / "model.safetensors").unlink()
    weights = checkpoint / "pytorch_model.bin"
    save({"weight": Program(mark)}, weights)
    message = refusal(checkpoint)
    assert "something else than tensors" in message
    assert "weights_only" not in message, "torch advises to switch it off"
    assert not mark.exists()
    with contextlib.suppress(RuntimeError):  # not a file of torch
        torch.load(weights, weights_only=False)
    assert mark.exists(), "unpickled without care, it runs"


@pytest.mark.parametrize("kind", ["clip", "another"])
def test_code_next_to_a_checkpoint_is_neither_run_nor_asked_about(checkpoint, mark, monkeypatch, kind):
    (checkpoint / "own.py").write_text(
        f"import os\nos.mkdir({str(mark)!r})\nfrom transformers import CLIPConfig, CLIPTokenizer\n"
        "class OwnConfig(CLIPConfig): pass\nclass OwnTokenizer(CLIPTokenizer): pass\n"
    )
    tokenizer = {"AutoTokenizer": ["own.OwnTokenizer", None]}
    edit(checkpoint / "config.json", model_type=kind, auto_map={"AutoConfig": "own.OwnConfig", **tokenizer})
    edit(checkpoint / "tokenizer_config.json", auto_map=tokenizer, tokenizer_class="OwnTokenizer")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    if kind == "clip":
        load_clip(checkpoint)
    else:
        assert "is a 'another' checkpoint" in refusal(checkpoint)
    assert not mark.exists()


@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_damaged_file_of_a_checkpoint_is_one_message(checkpoint, name, damage):
    whole = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "noise": b"\xff" * 99}[damage])
    assert re.search("cannot be (read|loaded)", refusal(checkpoint))


def test_checkpoint_without_a_tokenizer_is_refused(checkpoint):
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (checkpoint / name).unlink()
    assert "no tokenizer.json, nor vocab.json with merges.txt" in refusal(checkpoint)
