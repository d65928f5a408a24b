"""An evaluation that lasts long enough to be killed: python -m tests.helpers.slow_evaluation OUT"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from lvcd.evaluation import evaluate, runner
from tests.helpers.evaluation import FunctionMethod, cartoons, noisy, two_metrics


def slow(reference, sketches):
    time.sleep(0.3)
    return noisy(reference, sketches)


if __name__ == "__main__":
    runner.SAVE_SCORES_EVERY_SEC = 0.0
    evaluate(FunctionMethod(slow), cartoons(leaks=2), two_metrics(), Path(sys.argv[1]))
