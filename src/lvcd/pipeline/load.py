"""Loading: a model folder becomes a pipeline on a device."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from lvcd.checkpoints.convert import verify
from lvcd.errors import InputError
from lvcd.system import choose_device
from lvcd.weights import model_folder

from .lineart_video import LineartVideoPipeline

DTYPES = ("auto", "float32", "float16", "bfloat16")


def silence_libraries() -> None:
    """Hide the messages and progress bars of diffusers and transformers, for programs that have their own."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="diffusers")
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def choose_dtype(name: str, device: str) -> torch.dtype:
    """Return the dtype of this name; `auto` is float16 on a GPU and float32 on a CPU. InputError: an unknown name."""
    if name not in DTYPES:
        raise InputError(f"dtype={name}: choose {', '.join(DTYPES)}")
    if name == "auto":
        name = "float32" if device == "cpu" else "float16"
    return getattr(torch, name)


def load_pipeline(
    folder: str | Path,  # or the name of a bundled model, as "mini"
    device: str = "auto",
    dtype: str = "auto",
    **components: Any,  # networks in place of the folder's; None = without
) -> LineartVideoPipeline:
    """Load a model folder of `lvcd convert`, `lvcd export` or `RUN/model`, without progress bars.

    Raises InputError if the folder is no model, or the device or dtype cannot be used.
    """
    silence_libraries()
    folder = model_folder(folder)
    verify(folder)
    device = choose_device(device)
    pipeline = LineartVideoPipeline.from_pretrained(
        folder, torch_dtype=choose_dtype(dtype, device), local_files_only=True, **components
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline if device == "cpu" else pipeline.to(device)  # a part on the meta device cannot be moved
