"""Extractors whose lines a network draws. The networks are those of the package controlnet-aux, the weights are the
user's own file: none can be shipped with this code, and none were at hand when it was written.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import safetensors.torch
import torch
from torch import Tensor, nn

from lvcd.errors import InputError
from lvcd.pixel_values import uint8_from_unit

from .extractor import Array, draw_in_batches


@dataclass(frozen=True)
class NetworkRecipe:
    """A recipe says how a network is built, and what its authors feed it."""

    module: str
    build: Callable[[Any], nn.Module]
    """Builds the network from the module of controlnet-aux."""
    multiple: int
    """Height and width must be multiples of this: frames are mirrored at the right and bottom edge up to the next."""
    low: float
    """The value of black in what goes in and comes out; white is 1."""
    known: dict[str, str]
    """SHA-256 of published weights -> their file name."""


def _anime2sketch(module: Any) -> nn.Module:
    norm = functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)
    return module.UnetGenerator(3, 1, 8, 64, norm_layer=norm, use_dropout=False)


RECIPES = {
    "informative-drawings": NetworkRecipe(  # Chan, Isola, Durand: Learning to Generate Line Drawings ..., CVPR 2022
        "lineart",
        lambda module: module.Generator(3, 1, 3),
        multiple=4,
        low=0.0,
        known={
            # the authors' model.pth and model2.pth, of fine and of coarse lines
            "c686ced2a666b4850b4bb6ccf0748031c3eda9f822de73a34b8979970d90f0c6": "sk_model.pth",
            "30a534781061f34e83bb9406b4335da4ff2616c95d22a585c1245aa8363e74e0": "sk_model2.pth",
        },
    ),
    "anime2sketch": NetworkRecipe(  # Xiang et al.: Adversarial Open Domain Adaptation for Sketch-to-Photo ..., 2021
        "lineart_anime",
        _anime2sketch,
        multiple=256,
        low=-1.0,
        known={"ccabdcc3f5cf3c07cf65d58776acb21df7dfda825cdc70c9766a93fd62bfc488": "netG.pth"},
    ),
}
"""The hashes are those that several public projects give for these files, all alike; the files were not at hand."""

FRAMES_PER_BATCH = 4
"""On a GPU. On a CPU one, where more are not faster."""

SMALLEST_PX = 16
"""Rows and columns that the networks need at least."""


class NetworkExtractor:
    """A `SketchExtractor` by one of the networks of RECIPES. Frames go in at their own size.

    weights    a .safetensors or .pth file: loaded without running code from it, and it must fit the network to the key
    InputError: no controlnet-aux, a file that cannot be read, or one of another network. Weights that were never
    published are used, with a line on stderr, and their name in the settings is "unknown".
    """

    def __init__(self, name: str, device: str, weights: Path):
        self._recipe = RECIPES[name]
        self._device = torch.device(device)
        self._batch = 1 if self._device.type == "cpu" else FRAMES_PER_BATCH
        module = _module(self._recipe.module)
        state, digest = _load(weights)
        with torch.device("meta"):  # no time is lost on first values
            self._network = self._recipe.build(module)
        _fill(self._network, state, f"{weights} does not hold the weights of {name}")
        self._network.eval().to(self._device, torch.float32)
        known = self._recipe.known.get(digest, "unknown")
        self.settings: dict[str, Any] = {
            "name": name, "device": self._device.type, "weights": known, "weights_sha256": digest
        }  # fmt: skip
        if known == "unknown":
            print(f"{weights} holds weights of {name} that are not among the published ones", file=sys.stderr)

    def __call__(self, first: int, frames: list[Array]) -> list[Array]:
        padded = [pad(frame, self._recipe.multiple) for frame in frames]
        drawings = draw_in_batches(padded, self._batch, self._device, self._draw)
        return [drawing[: frame.shape[0], : frame.shape[1]].copy() for frame, drawing in zip(frames, drawings)]

    def _draw(self, pixels: Tensor) -> Tensor:
        low, span = self._recipe.low, 1 - self._recipe.low
        return uint8_from_unit((self._network(pixels * (span / 255) + low)[:, 0] - low) / span)


def pad(frame: Array, multiple: int) -> Array:
    """Mirror a frame (H W 3) at its right and bottom edge until both sides are multiples of `multiple`."""
    below, right = (max(SMALLEST_PX, -(-side // multiple) * multiple) - side for side in frame.shape[:2])
    return cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REFLECT_101)


def _module(name: str) -> Any:
    """Import one module of controlnet-aux. The package as a whole imports every detector it has, and timm, scikit-image
    and mediapipe with them (5 s and a screen of warnings), so the package's own file is not run."""
    if (spec := importlib.util.find_spec("controlnet_aux")) is None:
        raise InputError("learned extractors need controlnet-aux: pip install lvcd[prepare]")
    loaded = "controlnet_aux" in sys.modules
    package = sys.modules.setdefault("controlnet_aux", importlib.util.module_from_spec(spec))
    try:
        return importlib.import_module(f"{package.__name__}.{name}")
    finally:
        if not loaded:
            del sys.modules["controlnet_aux"]  # whoever wants all of it may still import it


def _load(file: Path) -> tuple[dict[str, Tensor], str]:
    """Return the weights by name and the SHA-256 of their file, both of the same bytes, even if the file changes."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): check the path of the weights") from error
    try:
        if file.suffix == ".safetensors":
            state = safetensors.torch.load(content)
        else:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise InputError(f"{file} is damaged or no file of weights: download it again") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{file} holds something other than weights: give the network's state dict")
    named = {str(key).removeprefix("module."): value for key, value in state.items()}  # saved from several GPUs
    return named, hashlib.sha256(content).hexdigest()


def _fill(network: nn.Module, state: dict[str, Tensor], wrong: str) -> None:
    """Load a state dict into a network. InputError: not the same names and shapes."""
    want = {key: value.shape for key, value in network.state_dict().items()}
    odd = sorted(key for key in want.keys() | state.keys() if key not in state or want.get(key) != state[key].shape)
    if odd:
        raise InputError(f"{wrong}, {len(odd)} of them differ, as {odd[0]}: give the file of this network")
    network.load_state_dict(state, assign=True)
