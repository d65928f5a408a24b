"""Fingerprints of networks: the same for the same weights, in whatever precision they are stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from torch import Tensor, nn

from lvcd.nn.lora import without_lora


def fingerprint(module: nn.Module) -> str:
    """Return the SHA-256, in hex, of the names, shapes and float16 values of a state dict, sorted by name.

    A network in float32 and its copy in float16 agree, on whatever device they are; bfloat16 keeps fewer digits and
    does not. Values beyond float16's range count as infinite, -0.0 counts as 0.0, whole numbers count as they are.
    Adapters do not count: a network has the same fingerprint with and without.
    """
    return fingerprint_of_weights(sorted(without_lora(module.state_dict().items()), key=lambda item: item[0]))


def fingerprint_of_weights(weights: Iterable[tuple[str, Tensor]]) -> str:
    """Return the fingerprint of the network that has these weights, sorted by name, of which one is held at a time."""
    digest = hashlib.sha256()
    for name, tensor in weights:
        values = tensor.detach().cpu()
        values = values.half() + 0.0 if values.is_floating_point() else values.long()
        digest.update(f"{name} {tuple(values.shape)}\n".encode())
        digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()
