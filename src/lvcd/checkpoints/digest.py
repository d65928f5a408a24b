"""Digests of the weights in a model folder: written with every model of ours, checked when it is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lvcd.errors import InputError
from lvcd.io.disk import atomic_folder, sha256

DIGEST_FILE = "SHA256SUMS"
"""File in a model folder, as `sha256sum` writes and checks it."""
SKIP_DIGEST = "LVCD_SKIP_DIGEST"
"""Environment variable that leaves out the check, if it is 1."""


@contextmanager
def new_model_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder` to fill with a model; then its digests are written, and it is renamed.

    A model that is there already is replaced. Files get the permissions that new files have.
    InputError: another folder is there, or it cannot be written.
    """
    known = ("model_index.json", "config.json")
    if folder.exists() and not (
        folder.is_dir() and (not any(folder.iterdir()) or any((folder / f).is_file() for f in known))
    ):
        raise InputError(f"{folder}: exists and is no model; choose another name or remove it")
    with atomic_folder(folder, replace=True) as partial:
        yield partial
        finish_model_folder(partial)


def finish_model_folder(folder: Path) -> None:
    """Write the digests of the weights in a new model folder, and give its files the permissions of new files.

    safetensors' own writer makes files that others cannot read.
    """
    (folder / DIGEST_FILE).touch()
    mode = (folder / DIGEST_FILE).stat().st_mode & 0o777  # 0666 without the umask
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    for file in files:
        file.chmod(mode)
    lines = [f"{sha256(f)}  {f.relative_to(folder).as_posix()}\n" for f in files if f.suffix == ".safetensors"]
    (folder / DIGEST_FILE).write_text("".join(lines))


def check_digests(folder: Path, components: Iterable[str] | None = None) -> None:
    """Check the weights of a model folder against its digests, if it has any.

    components  subfolders that are going to be read; None = all
    InputError: a file has other bytes than were written.
    """
    if not (folder / DIGEST_FILE).is_file() or is_skipped():
        return
    chosen = None if components is None else set(components)
    for line in (folder / DIGEST_FILE).read_text(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        file = folder / name
        if (chosen is None or name.split("/")[0] in chosen) and file.is_file() and sha256(file) != digest:
            raise InputError(f"{file} is damaged, it is not what {DIGEST_FILE} says: copy or export the model again "
                             f"({SKIP_DIGEST}=1 leaves out this check)")  # fmt: skip


def is_skipped() -> bool:
    """Return whether the user leaves out checks of digests."""
    return os.environ.get(SKIP_DIGEST, "") == "1"
