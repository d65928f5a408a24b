"""Where a command computes."""

from __future__ import annotations

from lvcd.errors import InputError

HELP = "cpu, cuda, cuda:1, mps (default: the best there is)"


def usable(name: str) -> str:
    """`auto` => the best device there is; another name as it is. InputError: it cannot be used."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name} cannot be used ({str(error).splitlines()[0]})") from error
    return name
