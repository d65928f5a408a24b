"""What lack of memory becomes: one line, whichever device it was."""

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from lvcd.errors import DeviceMemoryError, InputError, on_out_of_memory, system_refusal
from lvcd.training.checkpoint import AtomicCheckpointIO

LACKS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    MemoryError(),
]


@pytest.mark.parametrize("lack", LACKS)
@pytest.mark.parametrize("message", ["use fewer", lambda: "use fewer"])
def test_lack_of_memory_is_one_line(lack, message):
    with pytest.raises(DeviceMemoryError) as caught, on_out_of_memory(message):
        raise lack
    assert str(caught.value) == "use fewer" and isinstance(caught.value, InputError) and caught.value.__cause__ is lack


@pytest.mark.parametrize("other", [RuntimeError("shapes differ"), InputError("no file"), ValueError("memory")])
def test_other_errors_stay_what_they_are(other):
    with pytest.raises(type(other)) as caught, on_out_of_memory("use fewer"):
        raise other
    assert caught.value is other


@pytest.mark.parametrize("path", ["x" * 5000, "y" * 300, "a\0b", "/dev/null/x", "\udcff\ud800"])
def test_a_path_that_the_system_refuses_is_one_line(path):
    with pytest.raises((OSError, ValueError)) as caught:
        Path(path).read_bytes()
    line = system_refusal(caught.value)
    assert line and "\n" not in line and len(line) < 400 and line.isprintable()


@pytest.mark.parametrize("other", [ValueError("shapes differ"), KeyError("x"), ConnectionError(), OSError("odd"), None])
def test_a_bug_is_no_refusal(other):
    assert system_refusal(other) is None


def test_what_libraries_make_of_a_full_disk_is_one_line():
    """torch.save raises another error as it closes its file; safetensors prints what Rust says."""
    unclosed = open("/dev/full", "wb")  # noqa: SIM115  # closing it says so once more
    with pytest.raises(RuntimeError) as full:
        torch.save({"weight": torch.zeros(100_000)}, unclosed)
    with pytest.raises(OSError):
        unclosed.close()
    assert "No space left" in (system_refusal(full.value) or "")
    with pytest.raises(SafetensorError) as gone:
        save_file({"weight": torch.zeros(2)}, "/no such folder/weights.safetensors")
    assert "No such file" in (system_refusal(gone.value) or "")


def test_a_checkpoint_on_a_full_disk_is_one_line(tmp_path, monkeypatch):
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode="r": opened(Path("/dev/full"), mode))
    with pytest.raises(InputError, match="free some space"):
        AtomicCheckpointIO().save_checkpoint({"weight": torch.zeros(100_000)}, tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())
