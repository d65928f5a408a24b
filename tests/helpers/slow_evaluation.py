"""An evaluation that lasts long enough to be killed: python -m tests.helpers.slow_evaluation OUT"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from lvcd.evaluation import evaluate, runner
from tests.helpers.evaluation import Paints, cartoons, noisy, suite


def slow(reference, sketches):
    time.sleep(0.3)
    return noisy(reference, sketches)


if __name__ == "__main__":
    runner.SAVE_SCORES_EVERY_SEC = 0.0
    evaluate(Paints(slow), cartoons(leaks=2), suite(), Path(sys.argv[1]))
