"""What cannot run together, found in a configuration before any weight is loaded."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

import torch

from lvcd.errors import InputError

from .finetune import FineTuneModule
from .vae_module import VaeModule

Config = Mapping[str, Any]

LOGGED: dict[type, tuple[str, ...]] = {
    FineTuneModule: ("train/loss", "val/loss"),
    VaeModule: ("train/loss", "val/psnr", "val/latent_std"),
}
"""Module -> metrics that every run of it logs, and that a checkpoint can be chosen by."""
SCORES = (
    "FID", "FrechetDistance", "FVD", "LPIPS", "ShiftTolerantLPIPS", "PSNR", "SSIM", "EDMD", "TC", "SegmentAccuracy",
)  # fmt: skip
"""Metrics of lvcd.metrics.paper: columns begin with val/ and one of them, where callbacks.scores is set."""


def check_combination(config: Config) -> None:
    """InputError: a composed training configuration, as plain dicts and lists, has parts that cannot run together."""
    kind = _resolved(config["module"].get("_target_"))
    _check_sharded(config, kind)
    _check_monitor(config, kind)


def check_machine(config: Config) -> None:
    """InputError: this machine lacks the GPUs that a composed training configuration asks for."""
    trainer = config["trainer"]
    if trainer.get("accelerator") not in ("gpu", "cuda"):
        return
    devices = trainer.get("devices")
    wanted = len(devices) if isinstance(devices, (list, tuple)) else devices if isinstance(devices, int) else 1
    there = torch.cuda.device_count() if torch.cuda.is_available() else int(torch.backends.mps.is_available())
    if not there:
        raise InputError("there is no GPU here, and trainer.accelerator=gpu wants one: give trainer=cpu")
    if wanted > there:
        raise InputError(f"trainer.devices={wanted} wants more GPUs than are here: give trainer.devices={there}")


def _check_sharded(config: Config, kind: Any) -> None:
    """InputError: the strategy shards weights, and another part needs them whole, or in another type."""
    trainer, module = config["trainer"], config["module"]
    strategy = trainer.get("strategy") or "auto"
    name = str(strategy.get("_target_") if isinstance(strategy, Mapping) else strategy).lower()
    if not ("modelparallel" in name or "fsdp" in name or "deepspeed" in name):
        return
    if "modelparallel" not in name:
        raise InputError(f"trainer.strategy={name} is not prepared: to shard weights over GPUs, give trainer=fsdp")
    if inspect.isclass(kind) and not issubclass(kind, FineTuneModule):
        raise InputError(
            f"trainer=fsdp shards U-Net and ControlNet, and {kind.__name__} has neither: give trainer=ddp4"
        )
    optimization = module.get("optimization") or {}
    problems = {
        "trainer.precision=bf16-mixed": str(trainer.get("precision")).startswith("16"),
        "trainer.gradient_clip_val=null": bool(trainer.get("gradient_clip_val")),
        "module.frozen_half=false": bool(module.get("frozen_half")),
        "module.compile=false": bool(module.get("compile")),
        "module.correspondence_weight=0": bool(module.get("correspondence_weight")),
        "module.optimization.muon=null": optimization.get("muon") is not None,
        "module.optimization.bits=32": optimization.get("bits", 32) != 32,
    }
    if wrong := [words for words, is_wrong in problems.items() if is_wrong]:
        raise InputError(f"trainer=fsdp cannot shard this run: set {' '.join(wrong)}")


def _check_monitor(config: Config, kind: Any) -> None:
    """InputError: no part of the run logs the metric that decides which checkpoint is the best."""
    monitor, callbacks = config.get("monitor"), config.get("callbacks") or {}
    if not (inspect.isclass(kind) and kind.__module__.startswith("lvcd.")) or not isinstance(callbacks, Mapping):
        return  # a module of one's own logs what it wants
    names = [name for known, logged in LOGGED.items() if issubclass(kind, known) for name in logged]
    if config["module"].get("correspondence_weight"):
        names += ["train/correspondence", "val/correspondence"]
    targets = {str(c.get("_target_")).rpartition(".")[2]: c for c in callbacks.values() if isinstance(c, Mapping)}
    own = any(not str(c.get("_target_")).startswith(("lvcd.", "lightning.")) for c in targets.values())
    scores = targets.get("Scores", {})
    has_scores = bool(scores) and bool(scores.get("clips", 8))
    column = str(monitor).removeprefix("val/").partition("[")[0]
    if own or monitor in names or (has_scores and (column in SCORES or scores.get("metrics"))):
        return
    if "Samples" in targets:
        names.append("samples/psnr")
    if monitor not in names:
        more = " (or val/FVD and the like, with callbacks.scores)" if issubclass(kind, FineTuneModule) else ""
        raise InputError(f"monitor={monitor} is not logged in this run: give one of {', '.join(names)}{more}")


def _resolved(target: Any) -> Any:
    try:
        return pkgutil.resolve_name(str(target))
    except (ImportError, AttributeError, ValueError):
        return None
