"""Evaluate: `python eval.py model=DIR protocol=cartoons_style`. Any method on any test set => a row of the board.

Several GPUs: `torchrun --nproc-per-node 4 eval.py ...`. An evaluation that was stopped goes on with the same command.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig

from lvcd.cli.hydra_entry import check_overrides, one_line
from lvcd.system import keep_freed_memory

# torch and diffusers take seconds to import: that waits until the words have been checked.
if TYPE_CHECKING:
    from lvcd.leaderboard import Row


def text(row: Row) -> str:
    """The scores on a few lines."""
    lines = [f"{row.name} on {row.protocol['name']}, {row.n} clips (row {row.id}):"]
    for column, report in row.metrics.items():
        value, interval = report["value"], report["interval"]
        around = f" ({interval['low']:.4g} to {interval['high']:.4g})" if interval else ""
        lines.append(f"  {column:<40} {'none' if value is None else f'{value:.4g}'}{around}")
    notes = [f"  {column}: {note}" for column, report in row.metrics.items() for note in report["notes"]]
    return "\n".join([*lines, *notes, *(f"  warning: {warning}" for warning in row.warnings)])


def run(config: DictConfig) -> Row:
    """Paint and score every clip; => the row that was appended to the board."""
    from lvcd.cli.device import usable
    from lvcd.evaluation import BOARD, Ranks, TestSet, evaluate
    from lvcd.leaderboard.wandb_tables import send_if_wanted
    from lvcd.metrics.suite import paper

    keep_freed_memory()
    ranks = Ranks.join()
    config.device = ranks.device(usable(config.device))
    tests = TestSet(instantiate(config.protocol))
    method = instantiate(config.method)
    suite = paper(**config.weights, frames=min(tests.lengths))
    out = Path(config.out)
    row = evaluate(method, tests, suite, out, seed=config.seed, device=config.device, ranks=ranks)
    if ranks.first:
        print(text(row))
        send_if_wanted(config.wandb, out / BOARD)
    return row


@hydra.main(config_path="conf/eval", config_name="eval", version_base="1.3")
def main(config: DictConfig) -> None:
    with one_line("eval.py"):
        run(config)


if __name__ == "__main__":
    check_overrides("eval.py", "eval", Path(__file__).parent / "conf" / "eval", sys.argv[1:])
    main()
