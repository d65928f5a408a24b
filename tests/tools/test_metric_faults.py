"""The faults are what they are called, and the metrics that must see them do."""

import numpy as np
import pytest
import torch

from lvcd.metrics import EDMD, PSNR, TC, SegmentAccuracy, Suite
from tools.metric_faults import FAULTS, OriginalClip, error, is_detected, markdown, original_clips, scores_of


@pytest.fixture(scope="module")
def clip() -> OriginalClip:
    return original_clips()[0]


@pytest.fixture(scope="module")
def table(clip) -> dict[str, dict[str, float]]:
    metrics = (PSNR(size=None), EDMD(size=None), TC(size=None), SegmentAccuracy())
    suite = Suite(metrics)
    return {name: scores_of(suite, [clip], fault) for name, fault in FAULTS.items()}


def test_every_fault_keeps_the_size_and_leaves_the_original_alone(clip):
    before = clip.frames.copy()
    for name, fault in FAULTS.items():
        frames = fault(clip)
        assert frames.shape == clip.frames.shape and frames.dtype == np.uint8, name
        assert np.array_equal(clip.frames, before), name
        assert np.array_equal(frames, before) == (name == "harmless"), name
    assert np.ptp(FAULTS["grey"](clip).astype(int), -1).max() == 0
    assert np.array_equal(FAULTS["late"](clip)[5], clip.frames[4])


@pytest.mark.parametrize(
    ("fault", "seen", "missed"),
    [
        ("grey", {"PSNR", "SegmentAccuracy"}, {"EDMD", "TC"}),
        ("blurred", {"PSNR", "EDMD"}, {"TC"}),
        ("shifted lines", {"PSNR", "EDMD"}, set()),
        ("flickering", {"TC", "SegmentAccuracy"}, {"EDMD"}),
        ("wrong palette", {"PSNR", "SegmentAccuracy"}, {"EDMD", "TC"}),
        ("frozen", {"PSNR", "EDMD", "TC", "SegmentAccuracy"}, set()),
        ("leaked", {"PSNR", "SegmentAccuracy"}, {"EDMD"}),
    ],
)
def test_who_sees_what(table, fault, seen, missed):
    alarms = {c for c, value in table[fault].items() if is_detected(c, value, table["harmless"][c])}
    assert seen <= alarms and not missed & alarms, (alarms, table[fault], table["harmless"])


def test_errors_grow_by_the_factor_that_is_meant():
    assert error("PSNR[moving]", 20) == pytest.approx(10 * error("PSNR[moving]", 40))
    assert error("SegmentAccuracy", 0.7) == pytest.approx(0.3) and error("TC", 1.25) == 0.25
    assert is_detected("EDMD", 1.0, 0.3) and not is_detected("EDMD", 0.8, 0.3) and not is_detected("EDMD", 0.005, 0.0)


def test_the_page_has_every_number_and_alarms_in_bold(table):
    page = markdown(table)
    (row,) = [line for line in page.splitlines() if line.startswith("| grey ")]
    cells = [cell.strip() for cell in row.strip("|").split("|")][1:]
    for (column, value), cell in zip(table["grey"].items(), cells, strict=True):
        bold = is_detected(column, value, table["harmless"][column])
        assert cell == (f"**{value:.3g}**" if bold else f"{value:.3g}")
    assert "pictures/metric_faults.png" in page and "**TC** misses:" in page
    assert not torch.tensor([value for row in table.values() for value in row.values()]).isnan().any()
