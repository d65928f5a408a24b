"""`lvcd train` without training: each job of a sweep reports what it was given. python sweep_app.py -m NAME=VALUE..."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lvcd.cli.hydra_entry import Program, prepare_job, start
from lvcd.cli.sweep import restartable


def job(config):
    prepare_job("train")
    with restartable(config, []):
        rate = config.module.optimization.lr
        job = {"run_dir": config.run_dir, "after": config.stage.after, "lr": rate, "words": sys.argv[1:]}
        Path(config.run_dir, "job.json").write_text(json.dumps(job))
        return rate if rate < 1e-3 else None


if __name__ == "__main__":
    sys.exit(start(Program("train", "sweep_app.py"), job, sys.argv[1:], ""))
