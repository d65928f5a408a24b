"""Tables: who is ranked with whom, what is bold, and what is said beside the numbers."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.cli import main
from lvcd.leaderboard import append, cited
from lvcd.leaderboard.table import boards, markdown
from tests.helpers.rows import protocol, report, row


def scored(name, value, low=None, high=None, better=True, column="PSNR"):
    only = protocol(columns=(column,))
    return row(name, protocol=only, metrics={column: report(value, low, high, better)})


def bold(rows):
    return re.findall(r"\| (\S+) .*\*\*", markdown(boards(rows)))


def test_only_one_protocol_is_ranked_together():
    rows = [row("a"), row("b", protocol=protocol(binarized=True)), row("c", (20.0, 21.0, 22.0, 23.0)), *cited()]
    shown = boards(rows)
    assert [[r.name for r in board.rows] for board in shown[:2]] == [["c", "a"], ["b"]]
    assert len(shown) == 6 and all(board.source for board in shown[2:])
    assert len({board.key for board in shown}) == 6


@pytest.mark.parametrize("better", [True, False])
def test_best_is_bold_only_where_no_interval_overlaps(better):
    apart = [scored("low", 10, 9, 11, better), scored("high", 20, 19, 21, better)]
    assert bold(apart) == ["high" if better else "low"]
    touching = [scored("low", 10, 9, 19, better), scored("high", 20, 19, 21, better)]
    assert bold(touching) == []
    third = scored("third", 14, 5, 25, better)  # reaches beyond both
    assert bold([*apart, third]) == []
    assert bold([*apart, scored("unknown", 15, better=better)]) == []
    assert bold(apart[:1]) == []
    assert bold([*apart, scored("none", None, better=better)]) == ["high" if better else "low"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), min_size=2, max_size=5), st.booleans())
def test_bold_against_every_pair(middles, better):
    rows = [scored(f"m{i}", m, m - r, m + r, better) for i, (m, r) in enumerate(middles)]
    [board] = boards(rows)
    best = board.best("PSNR")
    beats = [
        i
        for i, (m, r) in enumerate(middles)
        if all(((m - r > o + s) if better else (m + r < o - s)) for j, (o, s) in enumerate(middles) if j != i)
    ]
    assert ([best.name] if best else []) == [f"m{i}" for i in beats]


def test_nothing_is_best_where_one_is_best():
    assert bold([scored("a", 1.0, 0.9, 1.1, None, "TC"), scored("b", 3.0, 2.9, 3.1, None, "TC")]) == []


def test_a_stand_in_has_its_own_column():
    both = [
        row("a", metrics={"FID": report(1.0, better=False)}),
        row("b", metrics={"FrechetDistance[pooled]": report(0.5, better=False)}),
    ]
    assert "| method | clips | FID ↓ | FrechetDistance[pooled] ↓ | s / frame |" in markdown(boards(both))


def test_columns_are_in_the_papers_order():
    columns = ["TC", "SegmentAccuracy", "Own", "PSNR", "ShiftTolerantLPIPS[alex]", "PSNR[moving]", "FVD", "LPIPS"]
    [board] = boards([row(metrics={column: report(1.0) for column in columns})])
    order = ["FVD", "LPIPS", "ShiftTolerantLPIPS[alex]", "PSNR", "PSNR[moving]", "TC", "SegmentAccuracy", "Own"]
    assert list(board.columns) == order


def test_of_one_method_the_newest_row_counts():
    old, new = row("a", n=3), row("a", n=5)
    other = replace(old, method={"name": "a", "settings": {"steps": 4}})
    [board] = boards([old, other, new])
    assert {r.id for r in board.rows} == {new.id, other.id}
    assert f"a {new.id}" in markdown([board]) and f"a {other.id}" in markdown([board])  # two models under one name


def test_warnings_notes_and_n_are_there():
    rows = [row("a", warnings=["ignores its reference"]), row("b", n=7)]
    rows[1].metrics["TC"]["notes"].append("3 pairs stand still")
    shown = markdown(boards(rows))
    assert re.search(r"\| a \(!\) +\| +4 \|", shown) and re.search(r"\| b +\| +7 \|", shown)
    assert "* (!) **a: ignores its reference**" in shown
    assert "* TC: 3 pairs stand still (b)" in shown


def test_a_narrow_terminal_gets_tables_one_below_another():
    shown = markdown(boards(cited())[:1], width=60)
    assert max(map(len, shown.splitlines()[4:])) <= 60
    heads = [line for line in shown.splitlines() if line.startswith("| method")]
    assert len(heads) > 1 and " ".join(heads).count("FVD") == 1
    assert shown.count("LVCD  ") == len(heads)


def test_names_cannot_break_a_table_or_lead_a_terminal():
    foreign = row("a|b\n| c \x1b[31m", warnings=["x\n# y"])
    foreign.metrics["\x1b[2J\n# y|z"] = foreign.metrics["TC"]
    shown = markdown(boards([foreign]))
    assert "\x1b" not in shown and not re.search(r"^(\| c|# y)", shown, re.MULTILINE)
    assert "a\\|b" in shown and "y\\|z" in shown


def test_show(tmp_path, capsys):
    file = tmp_path / "leaderboard.jsonl"
    append(file, row())
    assert main(["leaderboard", "show", "--file", str(file)]) == 0
    shown = capsys.readouterr().out
    assert shown.index("## smoke") < shown.index("Published, not measured here")
    assert main(["leaderboard", "show", "--file", str(tmp_path / "none")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("lvcd leaderboard: ") and told.count("\n") == 1


def test_show_one_protocol(tmp_path, capsys):
    file = tmp_path / "leaderboard.jsonl"
    rows = [row("a"), row("b", protocol=protocol("strict"))]
    for each in rows:
        append(file, each)
    for words in ("smoke", rows[0].protocol_key):
        assert main(["leaderboard", "show", "--file", str(file), "--protocol", words]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("## smoke") and shown.count("##") == 1 and "| a " in shown
    assert main(["leaderboard", "show", "--file", str(file), "--protocol", "LVCD paper, Similar test set"]) == 0
    assert capsys.readouterr().out.count("##") == 1
    assert main(["leaderboard", "show", "--file", str(file), "--protocol", "none"]) == 2
    assert "no row of a protocol 'none'" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------- cited


def test_the_papers_tables():
    tables = {}
    for r in cited():
        tables.setdefault(r.protocol["name"], {})[r.name] = {c: m["value"] for c, m in r.metrics.items()}
    similar, general, ablation, overlap = tables.values()
    assert [len(table) for table in tables.values()] == [8, 8, 4, 5]
    assert similar["LVCD"] == {
        "FID": 8.8423, "FVD": 40.2711, "LPIPS": 0.0560, "PSNR": 24.5489, "SSIM": 0.8790, "EDMD": 4.3386, "TC": 1.0784,
    }  # fmt: skip
    assert general["SEINE + CNet"]["FVD"] == 820.9603 and general["CNet + Ref-only"]["TC"] == 1.3272
    for same in (ablation["LVCD"], overlap["LVCD, overlap 4"]):
        assert {c: v for c, v in same.items() if c in similar["LVCD"]}.items() <= similar["LVCD"].items()
    for column, better in (("FID", min), ("FVD", min), ("LPIPS", min), ("PSNR", max), ("SSIM", max), ("EDMD", min)):
        for table in (similar, general):  # it was the best of its paper
            assert better(table, key=lambda name: table[name][column]) == "LVCD"
    assert all(r.n is None and r.clips == [] and "arXiv 2409.12960" in r.source for r in cited())


def test_cited_rows_are_rows(tmp_path):
    from lvcd.leaderboard import read

    for each in cited():
        append(tmp_path / "board.jsonl", each)
    assert read(tmp_path / "board.jsonl") == cited()
    assert [each.id for each in cited()] == [each.id for each in cited()]
