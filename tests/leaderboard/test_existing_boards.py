"""A board that commit 6bacc6c wrote is read, ranked as then, and goes on under the same protocol."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lvcd.cli import main
from lvcd.errors import InputError
from lvcd.leaderboard import append, read
from lvcd.leaderboard.compare import compare
from lvcd.leaderboard.row import Row, digest
from lvcd.leaderboard.table import boards
from lvcd.metrics import Suite, paper

FILE = Path(__file__).parent / "data" / "board_6bacc6c.jsonl"
"""`eval.py -m model=mini method=ours,ours_flat,segment_match,flow_warp,copy_reference protocol.clips=4` at 6bacc6c."""


def test_its_rows_are_read_and_ranked_as_then():
    rows = read(FILE)
    assert [row.id for row in rows] == [json.loads(line)["id"] for line in FILE.read_text().splitlines()]
    assert [digest({**json.loads(row.line()), "id": None}) for row in rows] == [
        digest({**json.loads(line), "id": None}) for line in FILE.read_text().splitlines()
    ]
    [board] = boards(rows)
    assert [row.name for row in board.rows] == ["ours [flat]", "segment_match", "ours", "flow_warp", "copy_reference"]
    assert board.key == "bf365d9a3c8c" and len(board.columns) == 10
    assert {difference.column for difference in compare(*rows[:2])} >= {"PSNR", "TC"}


def test_a_row_of_today_is_ranked_with_them(tmp_path):
    """Its metrics are the same in all that keys a protocol, options that are gone included."""
    old = read(FILE)[0]
    try:
        suite = Suite(paper())
    except InputError as error:  # a package of weights
        pytest.skip(str(error))
    metrics = {column: metric.identity() for column, metric in suite.metrics.items()}
    new = Row({"name": "new", "settings": {}}, {**old.protocol, "metrics": metrics}, old.n, old.metrics, old.clips)
    file = tmp_path / "leaderboard.jsonl"
    file.write_bytes(FILE.read_bytes())
    append(file, new)
    assert len(boards(read(file))) == 1


def test_it_is_shown(tmp_path, capsys):
    assert main(["leaderboard", "show", "--file", str(FILE)]) == 0
    assert "0.131 [0.000, 0.315]" in capsys.readouterr().out
    assert main(["leaderboard", "html", "--file", str(FILE), "--out", str(tmp_path / "board.html")]) == 0
