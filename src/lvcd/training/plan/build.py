"""Building the module that would be trained, from its configuration alone."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from lvcd.errors import InputError

from ..finetune import FineTuneModule
from ..networks import Networks, networks_from_folder
from ..optimizer import Optimization

Config = Mapping[str, Any]


def build_module(config: Config) -> FineTuneModule:
    """Build the module of a configuration's `module` group, without reading weights, on the current device or mode.

    InputError: not a module that colorizes, or a setting that it does not have.
    """
    target = str(config.get("_target_"))
    try:
        cls = pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError):
        cls = None
    if not (inspect.isclass(cls) and issubclass(cls, FineTuneModule)):
        raise InputError(f"{target} does not train U-Net or ControlNet: plan an experiment that trains one of them")
    settings = {k: v for k, v in config.items() if k not in ("_target_", "networks", "optimization")}
    optimization = {k: v for k, v in (config.get("optimization") or {}).items() if k != "_target_"}
    try:
        networks = build_networks(config["networks"])
        return cls(networks, optimization=Optimization(**optimization), **settings)
    except TypeError as error:
        raise InputError(f"module: {error}: give settings that {cls.__name__} has") from error


def build_networks(config: Config) -> Networks:
    """Build the networks of a configuration's `module.networks`, without reading weights.

    A function of one's own takes `weights=False`, as those of lvcd do. Without a folder ("???") the networks are those
    of Stable Video Diffusion. InputError: the function cannot be imported.
    """
    settings = {k: v for k, v in config.items() if k != "_target_"}
    target = str(config.get("_target_"))
    try:
        make = pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"module.networks names {target}, which cannot be imported: correct its _target_") from error
    if make is networks_from_folder:
        folder = settings.pop("folder", "???")
        return make(None if folder == "???" else folder, **settings, weights=False)
    return make(**settings, weights=False)
