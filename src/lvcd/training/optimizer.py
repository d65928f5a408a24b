"""AdamW, or Muon and AdamW, and the learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from lvcd.errors import InputError

from .muon import MuonAdamW, is_matrix


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
    muon: float | None = None
    """Whatever multiplies (linear layers, convolutions) learns by Muon, at so many times the rate; None = AdamW."""

    def __post_init__(self) -> None:
        if not self.lr > 0 or not (self.unet_lr is None or self.unet_lr > 0):
            raise InputError(f"learning rates of {self.lr} and {self.unet_lr}: give numbers above 0")
        if self.decay not in ("none", "linear") or self.bits not in (32, 8):
            raise InputError(f"decay={self.decay}, bits={self.bits}: choose none or linear, 32 or 8")
        if self.muon is not None and not (self.muon > 0 and self.bits == 32):
            raise InputError(f"muon={self.muon}, bits={self.bits}: give a number above 0, and 32 bits")

    def build(self, groups: dict[str, list[nn.Parameter]], total_steps: int) -> dict[str, Any]:
        """What LightningModule.configure_optimizers returns. groups: {name: weights}, empty ones are left out."""
        rates = {"unet": self.unet_lr or self.lr}
        parameters = [{"params": ps, "lr": rates.get(name, self.lr), "name": name} for name, ps in groups.items() if ps]
        if self.muon is not None:
            parameters = [part for group in parameters for part in self._parted(group, self.muon)]
        optimizer = self._class()(parameters, lr=self.lr, weight_decay=self.weight_decay)

        def factor(step: int) -> float:
            warm = (step + 1) / (self.warmup_steps + 1)
            left = max(0.0, (total_steps - step) / max(1, total_steps - self.warmup_steps))
            return min(warm, left if self.decay == "linear" else 1.0)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @staticmethod
    def _parted(group: dict[str, Any], muon: float) -> list[dict[str, Any]]:
        """Matrices and the rest, as two groups; none is empty."""
        matrices = {
            "params": [p for p in group["params"] if is_matrix(p)],
            "lr": group["lr"] * muon,
            "name": f"{group['name']}, muon",
            "matrices": True,
        }
        rest = {**group, "params": [p for p in group["params"] if not is_matrix(p)]}
        return [part for part in (matrices, rest) if part["params"]]

    def _class(self) -> Any:
        if self.muon is not None:
            return MuonAdamW
        if self.bits == 32:
            return torch.optim.AdamW
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError as error:
            raise InputError("8-bit AdamW needs bitsandbytes: pip install bitsandbytes, or bits=32") from error
        return AdamW8bit
