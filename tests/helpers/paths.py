"""Where the checkout holds what tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
CARTOONS = ROOT / "data" / "cartoons"
TEST_STYLE = CARTOONS / "test_style"
GOLDEN = ROOT / "tests" / "data" / "golden" / "A"
