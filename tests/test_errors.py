"""What lack of memory becomes: one line, whichever device it was."""

from pathlib import Path

import pytest
import torch

from lvcd.errors import DeviceMemoryError, InputError, on_out_of_memory, system_refusal

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
