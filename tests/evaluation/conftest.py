"""What several tests of evaluation stand on."""

from __future__ import annotations

import pytest


@pytest.fixture
def keyless(tmp_path, monkeypatch) -> None:
    """W&B finds no key, and works offline."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DATA_DIR", "WANDB_ERROR_REPORTING"):
        monkeypatch.setenv(name, "")  # so that what is set in the test is forgotten
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
