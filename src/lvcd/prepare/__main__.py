"""`python -m lvcd.prepare films=[...] out=...`: `lvcd prepare`, set by conf/prepare.yaml and overrides of it."""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from lvcd.errors import InputError

from .options import Options, run

ConfigStore.instance().store(name="options", node=Options)


@hydra.main(config_path=str(Path(__file__).parents[3] / "conf"), config_name="prepare", version_base="1.3")
def main(config: DictConfig) -> None:
    try:
        options = OmegaConf.to_object(config)
        assert isinstance(options, Options)
        run(options)
    except InputError as error:
        print(f"lvcd.prepare: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
