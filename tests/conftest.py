"""Shared fixtures: the recording of the original, unpacked; a toy pipeline of real classes."""

from __future__ import annotations

import lzma
import os
import runpy
import shutil
import signal
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # in processes that tests start too: threads wait by spinning
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts its background jobs so, and children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

import torch

from tests.helpers.paths import GOLDEN, ROOT

torch.set_num_threads(1)  # the suite runs on several processes


@pytest.fixture(autouse=True)
def exact_products():
    """Put back what train.py sets for its process: products of matrices in TF32."""
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.fixture(scope="session")
def golden(tmp_path_factory) -> Path:
    """The recording as `tools/parity.py` takes it."""
    folder = tmp_path_factory.mktemp("golden")
    for file in GOLDEN.iterdir():
        if file.suffix == ".xz":
            (folder / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
        else:
            shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="session")
def pipeline():
    from tests.helpers.toys import toy_pipeline

    return toy_pipeline()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """The toy pipeline as `--model` takes it."""
    from tests.helpers.toys import toy_pipeline

    folder = tmp_path_factory.mktemp("model")
    toy_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def typed(monkeypatch):
    """typed("eval.py", "steps=3", ...): a script of the root with these words, in this process => exit code."""

    def run(program: str, *words: object) -> int:
        monkeypatch.setattr(sys, "argv", [str(ROOT / program), *map(str, words)])
        monkeypatch.chdir(ROOT)
        try:
            runpy.run_path(str(ROOT / program), run_name="__main__")
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run


@pytest.fixture
def keyless(tmp_path, monkeypatch) -> None:
    """W&B finds no key, and works offline."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DATA_DIR", "WANDB_ERROR_REPORTING"):
        monkeypatch.setenv(name, "")  # so that what is set in the test is forgotten
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
