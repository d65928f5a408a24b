"""What decides the size of a training step, read off a configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lvcd.errors import InputError

from ..color import HALF

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """What decides the size of a step."""

    clips: int
    """On each GPU at once."""
    frames: int
    """With the reference."""
    height: int
    width: int
    accumulate: int = 1
    ranks: int = 1
    strategy: str = "auto"
    bucket_view: bool = False
    """DDP's buckets are the gradients themselves."""
    precision: str = "32-true"
    gpu: bool = False
    average: bool = False
    """Of the weights that learn (lvcd.training.callbacks.Ema)."""

    @classmethod
    def of(cls, config: Config) -> Setting:
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
        if precision != "32-true" and precision not in HALF:
            raise InputError(f"trainer.precision={precision}: plans are for 32-true, {', '.join(HALF)}")
        strategy = trainer.get("strategy") or "auto"
        told: Config = strategy if isinstance(strategy, Mapping) else {"_target_": strategy}
        named = str(told["_target_"]).rpartition(".")[2].removesuffix("Strategy").lower()
        callbacks = [*_values(config.get("callbacks")), *_values(trainer.get("callbacks"))]
        return cls(
            **size,
            frames=int(window) + 1,
            accumulate=int(trainer.get("accumulate_grad_batches") or 1),
            ranks=_count(trainer.get("devices")) * int(trainer.get("num_nodes") or 1),
            strategy="fsdp" if named == "modelparallel" else named,
            bucket_view=bool(told.get("gradient_as_bucket_view")),
            precision=precision,
            gpu=trainer.get("accelerator") != "cpu",
            average=any(str(c.get("_target_")).endswith(".Ema") for c in callbacks if isinstance(c, Mapping)),
        )


def _values(group: Any) -> Iterable[Any]:
    return group.values() if isinstance(group, Mapping) else group or ()


def _count(devices: Any) -> int:
    """Lightning's `devices`: a number, or a list of them."""
    if isinstance(devices, (list, tuple)):
        return len(devices)
    return int(devices) if str(devices).isdigit() else 1
