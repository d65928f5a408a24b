"""train.py without training: every job of a sweep tells what it was given. python sweep_app.py -m NAME=VALUE..."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import hydra

from lvcd.cli.sweep import as_job, with_folders


@hydra.main(config_path="../../conf/train", config_name="train", version_base="1.3")
def main(config):
    with as_job(config):
        rate = config.module.optimization.lr
        told = {"run_dir": config.run_dir, "after": config.stage.after, "lr": rate, "words": sys.argv[1:]}
        Path(config.run_dir, "told.json").write_text(json.dumps(told))
        return rate if rate < 1e-3 else None


if __name__ == "__main__":
    sys.argv[1:] = with_folders(sys.argv[1:])
    main()
