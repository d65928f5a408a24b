"""AdamW and its learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from lvcd.errors import InputError


@dataclass(frozen=True)
class Optimization:
    """The defaults are the paper's: AdamW as it comes, a constant rate (method, section 9)."""

    lr: float = 5e-5
    unet_lr: float | None = None
    """Of the U-Net's weights; None = lr."""
    weight_decay: float = 0.01
    warmup_steps: int = 0
    """The rate rises linearly over so many optimizer steps."""
    decay: Literal["none", "linear"] = "none"
    """After the warm-up: constant, or linear to zero at the last step of the run."""
    bits: Literal[32, 8] = 32
    """Of the optimizer's state; 8 needs bitsandbytes."""

    def __post_init__(self) -> None:
        if not self.lr > 0 or not (self.unet_lr is None or self.unet_lr > 0):
            raise InputError(f"learning rates of {self.lr} and {self.unet_lr}: give numbers above 0")
        if self.decay not in ("none", "linear") or self.bits not in (32, 8):
            raise InputError(f"decay={self.decay}, bits={self.bits}: choose none or linear, 32 or 8")

    def build(self, groups: dict[str, list[nn.Parameter]], total_steps: int) -> dict[str, Any]:
        """What LightningModule.configure_optimizers returns. groups: {name: weights}, empty ones are left out."""
        rates = {"unet": self.unet_lr or self.lr}
        parameters = [{"params": ps, "lr": rates.get(name, self.lr), "name": name} for name, ps in groups.items() if ps]
        optimizer = self._class()(parameters, lr=self.lr, weight_decay=self.weight_decay)

        def factor(step: int) -> float:
            warm = (step + 1) / (self.warmup_steps + 1)
            left = max(0.0, (total_steps - step) / max(1, total_steps - self.warmup_steps))
            return min(warm, left if self.decay == "linear" else 1.0)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _class(self) -> Any:
        if self.bits == 32:
            return torch.optim.AdamW
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError as error:
            raise InputError("8-bit AdamW needs bitsandbytes: pip install bitsandbytes, or bits=32") from error
        return AdamW8bit
