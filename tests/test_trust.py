"""Nothing that is read or downloaded is executed: what the project's own code may call, and checkpoints that try."""

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
from safetensors.torch import load_file

from benchmark.clip.backbone import load_clip
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "code",
           "codeop", "runpy", "pty", "xmlrpc", "hickle"}  # fmt: skip
CALLS = {"eval", "exec", "compile", "execfile", "__import__", "os.system", "os.popen", "os.execv", "os.execvp",
         "os.spawnv", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load",
         "yaml.full_load_all", "torch.hub.load", "torch.jit.load", "torch.package.PackageImporter", "pd.read_pickle",
         "pandas.read_pickle", "np.fromregex", "subprocess.getoutput", "subprocess.getstatusoutput",
         "shutil.unpack_archive", "ElementInclude.include"}  # fmt: skip
LOADERS = {"torch.load": "weights_only", "np.load": "allow_pickle", "numpy.load": "allow_pickle"}
MUST_BE = {"weights_only": True, "allow_pickle": False, "shell": False, "trust_remote_code": False}
YAML_LOADERS = {"SafeLoader", "StrictLoader"}
IMPORTERS = {"benchmark/plugins/importer.py"}  # a method's file, which the user has named


def name_of(node: ast.expr) -> str:
    """`a.b.c` of a call's function; the last name alone where something is called that has none."""
    if isinstance(node, ast.Attribute):
        before = name_of(node.value)
        return f"{before}.{node.attr}" if before else node.attr
    return node.id if isinstance(node, ast.Name) else ""


def aliases_of(tree: ast.AST) -> dict[str, str]:
    """What a file calls things by, to what they are called: {"load": "torch.load"} for `from torch import load`."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname and alias.asname != "np"}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def problems_of_call(call: ast.Call, aliases: dict[str, str], file: str) -> list[str]:
    first, dot, rest = name_of(call.func).partition(".")
    name = aliases.get(first, first) + dot + rest
    last = name.rpartition(".")[2]
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    problems = []
    if name in CALLS or name.removeprefix("builtins.") in CALLS:
        problems.append(f"calls {name}")
    if name in LOADERS and LOADERS[name] not in given:
        problems.append(f"calls {name} without {LOADERS[name]}={MUST_BE[LOADERS[name]]}")
    for keyword, value in given.items():
        if keyword in MUST_BE and not is_constant(value, MUST_BE[keyword]):
            problems.append(f"{keyword} must be {MUST_BE[keyword]}")
    if name == "yaml.load":
        loader = given.get("Loader") or (call.args[1] if len(call.args) > 1 else None)
        problems += [] if loader and name_of(loader).rpartition(".")[2] in YAML_LOADERS else ["an unsafe yaml.load"]
    if last == "from_pretrained" and ".Auto" in f".{name}" and "trust_remote_code" not in given:
        problems.append("an Auto class asks the user about remote code unless told trust_remote_code=False")
    if name.endswith("Image.open") and "formats" not in given:
        problems.append("opens any kind of picture")
    if name.startswith("importlib.") and "import" in last and file not in IMPORTERS:
        problems.append("imports by name")
    return problems


def problems_of(source: str, file: str = "benchmark/some.py") -> list[str]:
    """What a source file does that it may not."""
    tree, problems = ast.parse(source), []
    aliases = aliases_of(tree)
    for node in ast.walk(tree):
        found = []
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and all(alias.name.endswith("Error") for alias in node.names):
                names = []  # an exception executes nothing
            found = [f"imports {name}" for name in names if name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.Call):
            found = problems_of_call(node, aliases, file)
        elif isinstance(node, ast.ClassDef):
            bases = {aliases.get(name_of(base), name_of(base)).removeprefix("yaml.") for base in node.bases}
            found = [f"derives from {name}" for name in bases & {"Loader", "UnsafeLoader", "FullLoader"}]
        problems += [f"{file}:{node.lineno}: {problem}" for problem in found]
    return problems


def test_no_file_of_the_project_executes_what_it_reads():
    files = [
        p for p in sorted(ROOT.rglob("*.py")) if p.relative_to(ROOT).parts[0] in ("benchmark", "methods", "tables")
    ]
    files.append(ROOT / "run_all.py")
    assert len(files) > 70
    found = [text for path in files for text in problems_of(path.read_text(), path.relative_to(ROOT).as_posix())]
    assert found == []


@pytest.mark.parametrize(
    "line",
    ["import pickle", "from pickle import loads", "import joblib", "import shelve, os", "from marshal import load",
     "eval('1')", "exec(text)", "import builtins\nbuiltins.exec(text)", "import torch\ntorch.load(p)",
     "import torch\ntorch.load(p, weights_only=False)", "import torch\ntorch.load(p, weights_only=flag)",
     "from torch import load\nload(p)", "import torch as t\nt.load(p)", "import numpy as np\nnp.load(p)",
     "import numpy as np\nnp.load(p, allow_pickle=True)", "import numpy\nnumpy.load(p)",
     "from numpy import load\nload(p)", "import yaml\nyaml.load(t)", "import yaml\nyaml.load(t, yaml.Loader)",
     "import yaml\nyaml.load(t, Loader=FullLoader)", "from PIL import Image\nImage.open(p)",
     "import yaml\nyaml.unsafe_load(t)", "from yaml import full_load\nfull_load(t)",
     "import yaml\nclass L(yaml.UnsafeLoader): pass", "import subprocess\nsubprocess.run(c, shell=True)",
     "import os\nos.system(c)", "AutoConfig.from_pretrained(p)",
     "from transformers import AutoTokenizer\nAutoTokenizer.from_pretrained(p, trust_remote_code=True)",
     "CLIPModel.from_pretrained(p, trust_remote_code=flag)",
     "CLIPModel.from_pretrained(p, weights_only=False)", "import torch\ntorch.hub.load(a, b)",
     "import pandas as pd\npd.read_pickle(p)", "import importlib\nimportlib.import_module(name)",
     "from importlib import import_module\nimport_module(name)", "__import__(name)"],
)  # fmt: skip
def test_line_that_executes_what_it_reads_is_found(line):
    assert problems_of(line)


@pytest.mark.parametrize(
    "line",
    ["import torch\ntorch.load(p, weights_only=True)", "import numpy as np\nnp.load(p, allow_pickle=False)",
     "import yaml\nyaml.load(t, Loader=yaml.SafeLoader)", "import yaml\nyaml.safe_load(t)", "model.eval()",
     "import re\nre.compile(p)", "import subprocess\nsubprocess.run(['git'], shell=False)",
     "AutoConfig.from_pretrained(p, trust_remote_code=False)", "from safetensors.torch import load\nload(b)",
     "import json\njson.load(f)"],
)  # fmt: skip
def test_line_that_only_reads_is_left_alone(line):
    assert problems_of(line) == []


class Program:
    """What a pickle may hold: unpickled, it makes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def checkpoint(tmp_path):
    """The embedded checkpoint in a folder of its own, to be spoilt."""
    shutil.copytree(CHECKPOINT, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def mark(tmp_path):
    """A path that is there once something was executed."""
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
    assert "weights_only" not in message, "that advice is torch's, and it is bad"
    assert not mark.exists()
    with contextlib.suppress(RuntimeError):  # it is no file of torch's
        torch.load(weights, weights_only=False)
    assert mark.exists(), "unpickled without care, it runs"


def test_old_weights_that_are_weights_load(checkpoint, clip):
    weights = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    torch.save(weights, checkpoint / "pytorch_model.bin")
    texts = ["a photo of a circle."]
    assert torch.equal(load_clip(checkpoint).encode_texts(texts), clip.encode_texts(texts))


@pytest.mark.parametrize("kind", ["clip", "another"])
def test_code_beside_a_checkpoint_is_neither_run_nor_asked_about(checkpoint, mark, monkeypatch, kind):
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
