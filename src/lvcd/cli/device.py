"""Where a command computes."""

from __future__ import annotations

import re

from lvcd.errors import InputError

HELP = "cpu, cuda, cuda:1, mps (default: the best there is)"


def usable(name: str) -> str:
    """`auto` => the best device there is; another name as it is. InputError: it cannot be used."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if not re.fullmatch(r"(cpu|cuda|mps)(:\d+)?", name):
        raise InputError(f"--device {name} is not known: give {HELP}")
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise InputError(f"--device {name} cannot be used ({why}): leave it out, or give cpu") from error
    return name
