"""Two rows, clip by clip."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lvcd.cli import main
from lvcd.errors import InputError
from lvcd.leaderboard import append, cited
from lvcd.leaderboard.compare import compare
from lvcd.leaderboard.find import find_two
from tests.helpers.rows import protocol, row


def pair(difference, spread=0.5, clips=60, seed=0):
    """Clips far from each other, methods near each other."""
    rng = np.random.default_rng(seed)
    a = rng.normal(20, 6, clips)
    b = a + difference + rng.normal(0, spread, clips)
    return row("a", a.tolist(), (1.0,) * clips), row("b", b.tolist(), (1.0,) * clips), a, b


def of(differences, column="PSNR"):
    return next(d for d in differences if d.column == column)


def test_the_interval_is_that_of_paired_differences():
    a, b, x, y = pair(0.3)
    found = of(compare(a, b))
    expected = stats.ttest_rel(y, x).confidence_interval(0.95)
    assert found.mean == pytest.approx((y - x).mean())
    assert found.interval["low"] == pytest.approx(expected.low, abs=0.02)
    assert found.interval["high"] == pytest.approx(expected.high, abs=0.02)
    assert found.better == "B"  # though the values' own intervals overlap
    assert stats.ttest_ind(y, x).pvalue > 0.5
    assert of(compare(b, a)).better == "A" and of(compare(b, a)).mean == pytest.approx(-found.mean)


def test_no_difference_is_undecided():
    rows = [pair(0.0, seed=seed)[:2] for seed in range(8)]
    undecided = sum(of(compare(a, b)).better is None for a, b in rows)
    assert undecided >= 6  # 7.6 in the mean
    a, _, _, _ = pair(0.0)
    assert of(compare(a, row("b", a_scores(a), (1.0,) * 60))).better is None  # equal


def a_scores(made):
    return [clip["scores"]["PSNR"] for clip in made.clips]


def test_lower_is_better_and_one_is_best():
    a, b, _, _ = pair(1.0)
    for each in (a, b):
        each.metrics["PSNR"]["higher_is_better"] = False
    assert of(compare(a, b)).better == "A"
    near, far = row("near", tc=(0.9, 1.1, 0.95, 1.05)), row("far", tc=(0.2, 1.6, 0.3, 1.7))
    assert of(compare(near, far), "TC").better == "A"
    assert of(compare(near, far), "TC").mean == pytest.approx((0.8 + 0.6 + 0.7 + 0.7 - 0.1 - 0.1 - 0.05 - 0.05) / 4)


def test_clips_that_differ_most_come_first_and_those_without_a_score_are_left_out():
    a = row("a", (10.0, 20.0, 30.0, 40.0), (1.0, None, 1.5, 1.0))
    b = row("b", (11.0, 15.0, 32.0, 40.0), (1.0, 1.2, None, 1.1))
    assert of(compare(a, b)).clips == [
        ("clip-1", 20, 15), ("clip-2", 30, 32), ("clip-0", 10, 11), ("clip-3", 40, 40),
    ]  # fmt: skip
    assert of(compare(a, b), "TC").n == 2


def test_one_clip_has_no_interval():
    [psnr, _] = compare(row("a", (10.0,), (1.0,)), row("b", (11.0,), (1.0,)))
    assert psnr.interval is None and psnr.better is None


@pytest.mark.parametrize(
    ("b", "words"),
    [
        (row("b", protocol=protocol(binarized=True)), ["binarized: False and True", "evaluate both"]),
        (row("b", protocol=protocol("strict", ("PSNR",))), ["metrics.TC", "name: 'smoke' and 'strict'"]),
        (row("b", (1.0, 2.0, 3.0), (1.0,) * 3), ["b", "clip-3", "same clips"]),
        (row("b", clips=[]), ["no scores of clips"]),
    ],
)
def test_what_cannot_be_compared_says_why(b, words):
    with pytest.raises(InputError):
        compare(b, row("a"))
    with pytest.raises(InputError) as error:
        compare(row("a"), b)
    assert all(word in str(error.value) for word in words)


def test_rows_are_found_by_id_and_by_name():
    strict = protocol("strict")
    rows = [row("a"), row("b"), row("a", n=3), row("a", protocol=strict), row("c", protocol=strict)]
    assert find_two(rows, "a", "b") == (rows[2], rows[1])  # the newest
    assert find_two(rows, rows[0].id, "b") == (rows[0], rows[1])
    assert find_two(rows, "a", "c") == (rows[3], rows[4])
    rows.append(row("b", protocol=strict))
    with pytest.raises(InputError, match="share 2 protocols.*smoke.*strict|share 2 protocols.*strict.*smoke"):
        find_two(rows, "a", "b")
    assert find_two(rows, "a", "b", "strict") == (rows[3], rows[5])
    assert find_two(rows, "a", "b", rows[0].protocol_key) == (rows[2], rows[1])
    for words, told in ((("a", "z"), "'z'"), (("a", "a", "strict"), "same row"), (("a", "b", "x"), "'x'")):
        with pytest.raises(InputError, match=told):
            find_two(rows, *words)
    with pytest.raises(InputError, match="cited"):
        compare(*find_two(cited(), "ACOF (prev)", "SEINE + CNet", "LVCD paper, General test set"))


def test_the_command(tmp_path, capsys):
    file = tmp_path / "leaderboard.jsonl"
    a, b, _, _ = pair(1.0)
    for each in (a, b):
        append(file, each)
    assert main(["compare", "a", "b", "--file", str(file)]) == 0
    told = capsys.readouterr().out
    assert "60 clips: B is better" in told and f"A: a ({a.id})" in told
    assert f"{of(compare(a, b)).clips[0][0]} (" in told
    assert main(["compare", "a", "nobody", "--file", str(file)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
