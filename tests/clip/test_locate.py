"""Where checkpoints lie: what is fetched of a repository, when, and what the hash of a folder covers."""

import json
import shutil

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPTokenizer

from benchmark.clip import hub as hub_module
from benchmark.clip.backbone import load_clip
from benchmark.clip.locate import checkpoint_hash, locate_checkpoint
from benchmark.data.synthetic.suite import CHECKPOINT
from benchmark.errors import ConfigError

EMBEDDED_HASH = "04cd38327c3de301"  # of records already written; it changes only with the checkpoint itself


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """hub: a repository "some/clip" as a folder, what was fetched of it, and an empty cache."""

    class Hub:
        repository, cache = tmp_path / "repository", tmp_path / "cache" / "0123abcd"

        def __init__(self):
            shutil.copytree(CHECKPOINT, self.repository)
            for name in ("README.md", "training_log.csv"):
                (self.repository / name).unlink(missing_ok=True)

        def fetched(self) -> set[str]:
            return {p.relative_to(self.cache).as_posix() for p in self.cache.rglob("*") if p.is_file()}

        def snapshot_download(self, name, *, allow_patterns, local_files_only, revision=None):
            assert name == "some/clip"
            assert revision in (None, self.cache.name), "all files are of one commit"
            if local_files_only:
                if not self.cache.exists():
                    raise LocalEntryNotFoundError("not there")
                return str(self.cache)
            files = [p.relative_to(self.repository).as_posix() for p in self.repository.rglob("*") if p.is_file()]
            self.cache.mkdir(parents=True, exist_ok=True)
            for file in filter_repo_objects(files, allow_patterns=allow_patterns):
                (self.cache / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.repository / file, self.cache / file)
            return str(self.cache)

    hub = Hub()
    monkeypatch.setattr(hub_module, "snapshot_download", hub.snapshot_download)
    return hub


TEXT_FILES = {"config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json",
              "merges.txt"}  # fmt: skip


def test_only_what_transformers_reads_is_fetched(hub):
    (hub.repository / "onnx").mkdir()
    for name in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.fp16.safetensors",
                 "pytorch_model.bin", "flax_model.msgpack", "tf_model.h5", "onnx/config.json",
                 "onnx/model.safetensors"):  # fmt: skip
        (hub.repository / name).write_bytes(b"of no use here")
    folder = locate_checkpoint("some/clip", fetch=True)
    assert hub.fetched() == TEXT_FILES | {"model.safetensors"}
    assert load_clip(folder).image_size == 48


def test_all_parts_of_divided_weights_are_fetched(hub):
    (hub.repository / "model.safetensors").unlink()
    CLIPModel.from_pretrained(CHECKPOINT).save_pretrained(hub.repository, max_shard_size="2MB")
    (hub.repository / "model-00001-of-00009.safetensors").write_bytes(b"a part of something else")
    locate_checkpoint("some/clip", fetch=True)
    parts = set(json.loads((hub.repository / "model.safetensors.index.json").read_text())["weight_map"].values())
    assert len(parts) > 1
    assert hub.fetched() == TEXT_FILES | parts | {"model.safetensors.index.json"}


def test_what_is_no_clip_is_refused_before_its_weights_are_fetched(hub):
    (hub.repository / "config.json").write_text('{"model_type": "siglip"}')
    with pytest.raises(ConfigError, match="softmax"):
        locate_checkpoint("some/clip", fetch=True)
    assert hub.fetched() == TEXT_FILES


def test_plan_takes_a_whole_cache_and_leaves_half_a_one_to_the_run(hub):
    assert locate_checkpoint("some/clip", fetch=False) is None
    hub.snapshot_download("some/clip", allow_patterns=["config.json"], local_files_only=False)
    assert locate_checkpoint("some/clip", fetch=False) is None
    assert locate_checkpoint("some/clip", fetch=True) == hub.cache
    assert locate_checkpoint("some/clip", fetch=False) == hub.cache


@pytest.mark.parametrize(
    "name, advice",
    [
        ("ViT-B/16", "its hub id is openai/clip-vit-base-patch16"),
        ("ViT-L-14-quickgelu", "its hub id is openai/clip-vit-large-patch14"),
        ("~/.cache/clip/ViT-B-32.pt", "its hub id is openai/clip-vit-base-patch32"),
        ("RN50", "only vision transformers"),
        ("ViT-H-14", "a hub id is OWNER/NAME"),
        ("https://huggingface.co/some/clip", "its hub id is some/clip. Give that."),
        ("http://www.huggingface.co/some/clip/tree/main", "its hub id is some/clip. Give that."),
        ("HF.co/some/clip?library=transformers", "its hub id is some/clip. Give that."),
        ("https://huggingface.co/some", "a hub id, which is OWNER/NAME"),
    ],
)
def test_names_of_other_code_are_refused_with_what_to_give_instead(name, advice):
    with pytest.raises(ConfigError) as refused:
        locate_checkpoint(name, fetch=False)
    assert f"Backbone '{name}'" in str(refused.value)
    assert advice in str(refused.value)


def test_hash_of_the_embedded_checkpoint_is_what_records_hold():
    assert checkpoint_hash(CHECKPOINT) == EMBEDDED_HASH


def test_hash_follows_weights_configuration_normalisation_and_special_tokens(copy):
    def with_other_weight(folder):
        weights = load_file(folder / "model.safetensors")
        weights["logit_scale"] += 1
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    changes = {
        "nothing": lambda folder: None,
        "weight": with_other_weight,
        "configuration": lambda folder: copy("text_config", layer_norm_eps=1e-6),
        "mean": lambda folder: (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5]}'),
        "deviation": lambda folder: (folder / "processor_config.json").write_text(
            '{"image_processor": {"image_std": [0.5, 0.5, 0.5]}}'
        ),
        "pad token": lambda folder: (folder / "tokenizer_config.json").write_text(
            '{"tokenizer_class": "CLIPTokenizer", "pad_token": "!"}'
        ),
    }
    hashes = {}
    for name, change in changes.items():
        folder = copy()
        (folder / "processor_config.json").unlink(missing_ok=True)
        change(folder)
        hashes[name] = checkpoint_hash(folder)
    assert len(set(hashes.values())) == len(changes), hashes
    assert hashes["nothing"] == EMBEDDED_HASH


def test_pad_token_that_is_a_character_is_removed_from_texts(copy, clip):
    CLIPTokenizer.from_pretrained(folder := copy(), pad_token="!").save_pretrained(folder)
    changed = load_clip(folder)
    assert [changed.tokenize([text]) == clip.tokenize([text]) for text in ("star!", "a star.")] == [False, True]
