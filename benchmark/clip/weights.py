"""Load the weights of a checkpoint with transformers, and refuse incomplete or mismatched ones."""

from pathlib import Path
from pickle import UnpicklingError

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import CLIPModel
from transformers.utils import logging

from benchmark.clip.checkpoint import one_line, read_normalisation, weight_files
from benchmark.clip.config import read_config
from benchmark.clip.tokenizer import read_tokenizer
from benchmark.errors import ConfigError, listed


def check_loads(folder: Path, name: str) -> None:
    """Refuse a checkpoint that load_clip would refuse, without reading the values of its weights.

    Raises:
        ConfigError: as load_clip.
    """
    read_tokenizer(folder, name, read_config(folder, name).text_config)
    read_normalisation(folder, name)
    load_model(folder, name, device_map="meta")


def load_model(folder: Path, name: str, **how) -> CLIPModel:
    """Load both towers.

    Pickled weights are opened as tensors and nothing else.

    Raises:
        ConfigError: weights are missing, unreadable or of another shape, or belong to layers that are not configured.
    """
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # what transformers warns of is refused below, or does not matter
    logging.disable_progress_bar()
    try:
        model, loading = CLIPModel.from_pretrained(
            folder,
            attn_implementation="sdpa",
            weights_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **how,
        )
    except (StrictDataclassError, TypeError) as error:  # of a key that only transformers reads
        raise ConfigError(
            f"Backbone '{name}': config.json is not the configuration of a CLIP: {one_line(error)}. Restore the file."
        ) from error
    except (OSError, ValueError, RuntimeError, EOFError, SafetensorError, UnpicklingError) as error:
        # for a pickle, torch's message says how to open it anyway, which would run its code
        reason = "something else than tensors" if isinstance(error, UnpicklingError) else one_line(error)
        raise ConfigError(
            f"Backbone '{name}': {', '.join(weight_files(folder, name))} cannot be read as weights: {reason}. Fetch "
            "the files again; one of a few lines is a pointer that Git LFS left."
        ) from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    stray = sorted(key for key in loading["unexpected_keys"] if ".encoder.layers." in key)
    problems = [
        _some("are missing and would stay random", sorted(loading["missing_keys"])),
        _some("belong to layers that config.json does not state", stray),
        _some(
            "have another shape than config.json states",
            [f"{key} {tuple(there)}, not {tuple(own)}" for key, there, own in sorted(loading["mismatched_keys"])],
        ),
    ]
    if problems := [problem for problem in problems if problem]:
        raise ConfigError(listed(f"Backbone '{name}'", problems, "Take a complete checkpoint of one model."))
    _check_finite(model, name)
    return model


def _check_finite(model: CLIPModel, name: str) -> None:
    """Refuse weights that are NaN or infinite, also after a conversion to float16; one pass over the memory."""
    bad = [key for key, w in model.named_parameters() if not (w.is_meta or torch.stack(w.aminmax()).isfinite().all())]
    if bad:
        raise ConfigError(
            f"Backbone '{name}': {_some(f'are NaN or infinite in {model.dtype}', bad)}. Fetch the files again, or "
            "take another checkpoint or --precision fp32."
        )


def _some(what: str, keys: list[str]) -> str:
    """The number of weights with a problem and the first of them; empty if there is none."""
    return f"{len(keys)} weights {what}: {', '.join(keys[:3])}{' ...' if len(keys) > 3 else ''}" if keys else ""
