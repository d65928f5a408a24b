"""`lvcd eval`, and `eval.py` in a checkout: any method on any test set => a row of the board.

Several GPUs: `torchrun --nproc-per-node 4 -m lvcd.cli eval ...`, or eval.py in place of `-m lvcd.cli eval`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lvcd.system import keep_freed_memory

# torch and diffusers take seconds to import: that waits until the words have been checked.
if TYPE_CHECKING:
    from omegaconf import DictConfig

    from lvcd.leaderboard import Row

HELP = "paint and score a test set, and add a row to the leaderboard"
USAGE = """\
usage: lvcd eval [NAME=VALUE ...] [-m] [--config-dir DIR] [--cfg job]

Paint and score every clip of a test set, and add a row to the leaderboard. The same command goes on if it was stopped.

  lvcd eval model=mini                                        the bundled model, on four toy clips
  lvcd eval model=RUN/model protocol=cartoons_style           a model of lvcd train, export or convert
  lvcd eval -m model=DIR method=ours,segment_match,copy_reference
  lvcd leaderboard show                                       the rows
"""


def summary(row: Row) -> str:
    """Return a row's scores on a few lines, with intervals, notes and warnings."""
    lines = [f"{row.name} on {row.protocol['name']}, {row.n} clips (row {row.id}):"]
    for column, report in row.metrics.items():
        value, interval = report["value"], report["interval"]
        around = f" ({interval['low']:.4g} to {interval['high']:.4g})" if interval else ""
        lines.append(f"  {column:<40} {'none' if value is None else f'{value:.4g}'}{around}")
    notes = [f"  {column}: {note}" for column, report in row.metrics.items() for note in report["notes"]]
    return "\n".join([*lines, *notes, *(f"  warning: {warning}" for warning in row.warnings)])


def run_evaluation(config: DictConfig) -> Row:
    """Paint and score every clip of a composed configuration; => the row that was appended to the board.

    InputError: a model, a test set or a device cannot be used.
    """
    from hydra.utils import instantiate

    from lvcd.evaluation import BOARD, Ranks, TestSet, evaluate
    from lvcd.leaderboard.wandb_tables import send_if_requested
    from lvcd.metrics import Suite
    from lvcd.system import choose_device

    keep_freed_memory()
    ranks = Ranks.join()
    config.device = ranks.device(choose_device(config.device))
    tests = TestSet(instantiate(config.protocol))
    method = instantiate(config.method)
    suite = Suite(instantiate(config.metrics, _convert_="all").values(), frames=min(tests.scored))
    out = Path(config.out)
    row = evaluate(method, tests, suite, out, seed=config.seed, device=config.device, ranks=ranks)
    if ranks.first:
        print(summary(row))
        send_if_requested(config.wandb, out / BOARD)
    return row


def job(config: DictConfig) -> None:
    """Evaluate one run of Hydra's."""
    from .hydra_entry import prepare_job
    from .job_errors import job_folder, one_line

    program, _ = prepare_job("eval")
    with one_line(program.name, job_folder()):
        try:
            run_evaluation(config)
        except KeyboardInterrupt:
            print("stopped; the same command goes on", file=sys.stderr)
            sys.exit(130)


def main(words: Sequence[str], script: str | None = None) -> int:
    """Evaluate what the words say, once or in a sweep; => exit code.

    script   eval.py where that was started, None = `lvcd eval`
    """
    from .hydra_entry import Program, start

    return start(Program("eval", script), job, words, USAGE)
