"""The errors of a Hydra job: each is one line and exit code 2, or a bug."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from lvcd.errors import InputError, system_refusal

LOCK_FILE = ".lock"
"""File in the folder of a run that a process has for itself."""


def job_folder() -> Path:
    """Return the output folder of the Hydra job that runs."""
    return Path(HydraConfig.get().runtime.output_dir)


@contextmanager
def one_line(name: str, folder: Path | None = None) -> Iterator[None]:
    """InputError, and what Hydra makes of one => one line, exit code 2; anything else is a bug and passes.

    name     of the program, which the line begins with
    folder   of Hydra's job: it is removed if nothing but Hydra's notes is in it
    """
    from . import drop_unprintable
    from .interrupts import check_interrupt

    try:
        yield
        sys.stdout.flush()
    except Exception as error:
        check_interrupt(error)
        if (message := user_message(error)) is None:
            raise
        drop_unprintable()
        print(f"{name}: {message}", file=sys.stderr)
        if (
            folder
            and folder.is_dir()
            and all(p.name in (".hydra", LOCK_FILE) or p.suffix == ".log" for p in folder.iterdir())
        ):
            shutil.rmtree(folder)
        sys.exit(2)


def user_message(error: Exception) -> str | None:
    """Return the line that a person is to read of an error, or None where it is a bug.

    Hydra wraps what a constructor raises, and OmegaConf what is wrong with a value.
    """
    cause = error if isinstance(error, InputError) else error.__cause__
    if isinstance(cause, InputError):
        return str(cause)
    if refusal := system_refusal(error) or (isinstance(error, InstantiationException) and system_refusal(cause)):
        return refusal
    if isinstance(error, MissingMandatoryValue) or isinstance(cause, MissingMandatoryValue):
        key = re.search(r"(?:full_key: |Missing mandatory value: )(\S+)", f"{error}\n{cause}")
        name = key[1] if key else "a setting"
        return f"{name} is missing: give it, as {name}=VALUE"
    if isinstance(error, InstantiationException):
        key = re.search(r"^full_key: (\S+)", str(error), re.MULTILINE)
        name = key[1] if key else "a setting"
        if target := re.search(r"Error locating target '([^']+)'", str(error)):
            reason = str(cause).splitlines()[0] if cause else "there is none"
            return f"{name} names {target[1]}, which cannot be imported ({reason}): correct its _target_"
        if isinstance(cause, (TypeError, ValueError)):
            return f"{name} has a value of the wrong kind ({str(cause).splitlines()[0]}): correct it"
    if isinstance(error, OmegaConfBaseException):
        return f"{str(error).splitlines()[0]}: correct the configuration"
    return None
