"""What lack of memory becomes: one line, whichever device it was."""

import pytest
import torch

from lvcd.errors import DeviceMemoryError, InputError, on_out_of_memory

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
