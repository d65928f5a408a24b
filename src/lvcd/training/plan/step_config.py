"""The settings that decide the cost of a training step, read from a training configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lvcd.errors import InputError

from ..finetune import HALF_DTYPES

Config = Mapping[str, Any]


@dataclass(frozen=True)
class StepConfig:
    """The settings that decide the memory and the work of a step."""

    clips: int
    """Clips of a batch, on each GPU."""
    frames: int
    """Frames of a clip, with the reference."""
    height: int
    """px"""
    width: int
    """px"""
    accumulate: int = 1
    """Batches of an optimizer step."""
    ranks: int = 1
    strategy: str = "auto"
    """auto, ddp or fsdp."""
    bucket_view: bool = False
    """DDP's buckets are the gradients themselves, not copies."""
    precision: str = "32-true"
    gpu: bool = False
    average: bool = False
    """A moving average of the trainable weights is kept (lvcd.training.callbacks.Ema)."""
    steps: int | None = None
    """Optimizer steps of the run; None = not limited by steps."""

    @classmethod
    def from_config(cls, config: Config) -> StepConfig:
        """Read a composed training configuration. InputError: a value is missing or cannot be planned."""
        data, trainer = config["data"], config["trainer"]
        try:
            window = data["window"] if "window" in data else (data.get("sampling") or {})["window"]
            size = {"clips": int(data["batch_size"]), "height": int(data["height"]), "width": int(data["width"])}
        except KeyError as error:
            raise InputError(f"data has no {error.args[0]}: choose data=shards or data=cartoons") from error
        except (TypeError, ValueError) as error:
            raise InputError(f"data.batch_size, height and width are whole numbers ({error}): correct them") from error
        if min(*size.values(), int(window)) < 1:
            raise InputError(f"data has {size} and a window of {window}: give numbers from 1")
        precision = {"32": "32-true", "None": "32-true"}.get(p := str(trainer.get("precision")), p)
        if precision != "32-true" and precision not in HALF_DTYPES:
            raise InputError(f"trainer.precision={precision}: plans are for 32-true, {', '.join(HALF_DTYPES)}")
        strategy = trainer.get("strategy") or "auto"
        options: Config = strategy if isinstance(strategy, Mapping) else {"_target_": strategy}
        name = str(options["_target_"]).rpartition(".")[2].removesuffix("Strategy").lower()
        callbacks = [*_entries(config.get("callbacks")), *_entries(trainer.get("callbacks"))]
        return cls(
            **size,
            frames=int(window) + 1,
            accumulate=int(trainer.get("accumulate_grad_batches") or 1),
            ranks=_num_devices(trainer.get("devices")) * int(trainer.get("num_nodes") or 1),
            strategy="fsdp" if name == "modelparallel" else name,
            bucket_view=bool(options.get("gradient_as_bucket_view")),
            precision=precision,
            gpu=trainer.get("accelerator") != "cpu",
            steps=steps if (steps := _whole_number(trainer.get("max_steps"))) and steps > 0 else None,
            average=any(str(c.get("_target_")).endswith(".Ema") for c in callbacks if isinstance(c, Mapping)),
        )


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _entries(group: Any) -> Iterable[Any]:
    return group.values() if isinstance(group, Mapping) else group or ()


def _num_devices(devices: Any) -> int:
    """Count Lightning's `devices`: a number, or a list of device numbers."""
    if isinstance(devices, (list, tuple)):
        return len(devices)
    return int(devices) if str(devices).isdigit() else 1
