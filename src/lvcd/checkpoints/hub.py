"""Where a model is: a bundled one, a folder or file on this disk, or a repository of the Hugging Face hub."""

from __future__ import annotations

import logging
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from lvcd.errors import InputError
from lvcd.weights import model_folder

from .config_files import COMPONENT_CLASSES

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""What names a repository of the hub: OWNER/NAME, as stabilityai/stable-video-diffusion-img2vid."""


def find_model(model: str | Path, weights: bool = True) -> Path:
    """Return the folder or file of a model: a bundled one by its name, a path as it is, a hub id downloaded.

    weights  False = of a hub id the config.json files are enough
    InputError: there is no such path, and it cannot be downloaded.
    """
    path = model_folder(model)
    try:
        if path.exists():
            return path
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)[:80]!r} is no path ({error.__class__.__name__}): give a model folder") from None
    if HUB_ID.fullmatch(path.as_posix()) and not path.parent.exists():
        return _download(path.as_posix(), weights)
    raise InputError(f"{path} is not a model folder: it does not exist")


def _download(hub_id: str, weights: bool) -> Path:
    """Download what is needed of a repository into the hub's cache, or find it there, as HF_HUB_OFFLINE says.

    Only config.json files and weights in safetensors are taken, in fp16 where there is nothing else.
    """
    from huggingface_hub import HfApi, snapshot_download  # takes a second to import

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it reports each of its retries
    wanted = ["model_index.json", *(f"{name}/config.json" for name in COMPONENT_CLASSES)]
    try:
        if not _hub_answers():
            raise ConnectionError("there is no way to it from here")
        if weights:
            files = HfApi().list_repo_files(hub_id)
            for name in COMPONENT_CLASSES:
                mine = [f for f in files if re.fullmatch(rf"{name}/[^/]+\.safetensors(\.index(\.fp16)?\.json)?", f)]
                whole = [f for f in mine if ".fp16" not in f]
                wanted += whole or mine
        return Path(snapshot_download(hub_id, allow_patterns=wanted))
    except Exception as error:  # of the network, of the hub, or of the disk
        try:
            cached = Path(snapshot_download(hub_id, local_files_only=True))
            if not weights or any(cached.glob("*/*.safetensors")):
                return cached
        except Exception:
            pass
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(
            f"{hub_id} is no folder here, and not to be had from the hub ({why}): with a network, run "
            f"`hf download {hub_id} --local-dir DIR` and give DIR"
        ) from error


def _hub_answers() -> bool:
    """Return whether the hub can be reached, at once: its own client tries for half a minute.

    Behind a proxy the client must find out for itself, and offline (HF_HUB_OFFLINE) it looks into its cache alone.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or getproxies():
        return True
    hub = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((hub.hostname or "", hub.port or (80 if hub.scheme == "http" else 443)), 5):
            return True
    except OSError:
        return False
