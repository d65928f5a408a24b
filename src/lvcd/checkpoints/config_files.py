"""The JSON files of a model folder, config.json and model_index.json, read without importing torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lvcd.errors import InputError

Config = dict[str, Any]
"""The content of a config.json or model_index.json."""


def read_json(path: Path) -> Config:
    """Read a JSON object. InputError: the file cannot be read, or holds something else."""
    try:
        content = json.loads(path.read_text())
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from None
    except ValueError as e:
        raise InputError(f"{path}: not JSON ({e})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object")
    return content


def write_json(content: Config, path: Path) -> None:
    """Write a JSON object, indented."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def read_model_index(folder: Path) -> Config:
    """Read the model_index.json of a model folder: the class of each network. InputError: it is not a model of lvcd."""
    if not (folder / "model_index.json").is_file():
        in_run = folder / "model"
        is_run = (in_run / "model_index.json").is_file()
        give = in_run if is_run else "a folder of lvcd convert or lvcd export, or RUN/model of lvcd train"
        raise InputError(f"{folder} is not a model folder: give {give}")
    index = read_json(folder / "model_index.json")
    if index.get("_class_name") != "LineartVideoPipeline":
        raise InputError(f"{folder} is a {index.get('_class_name')}, not an lvcd model: make one with lvcd convert")
    return index
