"""The encoder that the U-Net and the ControlNet have in common: SVD's, with layers that obey a FrameLayout."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention import TemporalBasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D, TemporalResnetBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from diffusers.utils.accelerate_utils import apply_forward_hook  # offloading moves weights for such methods, too
from torch import Tensor, nn

from lvcd.frames import FrameLayout

from .attention import (
    FramePositions,
    IsolatedTemporalAttnProcessor,
    LayoutContext,
    ReferenceAttnProcessor,
    SingleTokenCrossAttnProcessor,
)
from .conv import IsolatedConv3d


class ConditionEmbeddings(NamedTuple):
    """The parts of a call that depend on the condition alone, from `LayoutUNet.embed_condition`.

    They are the same in every denoising step, so sampling computes them once a segment.
    """

    added: Tensor
    """(b c) embedding of fps, motion bucket and conditioning noise."""
    cross_outputs: dict[Attention, Tensor] | None
    """Outputs (b 1 c) of the cross-attentions; None where the context has more than one token."""


class CheckpointedTemporalBlock(TemporalBasicTransformerBlock):
    """A transformer block in time that obeys `enable_gradient_checkpointing`, which diffusers' own does not."""

    gradient_checkpointing = False
    _gradient_checkpointing_func: Any = None  # set, as the flag is, by diffusers' enable_gradient_checkpointing

    def __call__(self, hidden_states: Tensor, num_frames: int, encoder_hidden_states: Tensor | None = None) -> Tensor:
        """Mix the tokens of each place over time: (b t) n c => (b t) n c.

        Not in `forward`: as around diffusers' other blocks, a compiled call is inside of what is checkpointed.
        """
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(super().__call__, hidden_states, num_frames, encoder_hidden_states)
        return super().__call__(hidden_states, num_frames, encoder_hidden_states)


def install_layout(module: nn.Module, context: LayoutContext, first_layer: int = 0) -> int:
    """Replace the layers of a network's part by ones that read `context.layout`; their weights and names stay.

    first_layer: number of the part's first spatial self-attention. Return the number of the next part's first.
    """
    for block in [m for m in module.modules() if isinstance(m, TemporalResnetBlock)]:
        block.conv1, block.conv2 = IsolatedConv3d(block.conv1, context), IsolatedConv3d(block.conv2, context)
    for transformer in [m for m in module.modules() if isinstance(m, TransformerSpatioTemporalModel)]:
        transformer.time_proj = FramePositions(transformer.time_proj, context)
        for block in transformer.transformer_blocks:
            block.attn1.set_processor(ReferenceAttnProcessor(context, first_layer))
            block.attn2.set_processor(SingleTokenCrossAttnProcessor(context))
            first_layer += 1
        for block in transformer.temporal_transformer_blocks:
            block.__class__ = CheckpointedTemporalBlock  # a new one would draw other first weights from the generator
            block.attn1.set_processor(IsolatedTemporalAttnProcessor(context))
            block.attn2.set_processor(SingleTokenCrossAttnProcessor(context))
    # The original has 1e-5 in all residual blocks; diffusers 0.42 takes 1e-6 in some (method, section 4).
    for block in [m for m in module.modules() if isinstance(m, (ResnetBlock2D, TemporalResnetBlock))]:
        block.norm1.eps = block.norm2.eps = 1e-5
    return first_layer


def zero_residual_branches(module: nn.Module) -> None:
    """Zero the last layer of every residual branch in place, as the original does before training from scratch."""
    for m in module.modules():
        if isinstance(m, (ResnetBlock2D, TemporalResnetBlock)):
            last: nn.Module = m.conv2
        elif isinstance(m, TransformerSpatioTemporalModel):
            last = m.proj_out
        else:
            continue
        for parameter in last.parameters():
            nn.init.zeros_(parameter)


class LayoutUNet(UNetSpatioTemporalConditionModel, PeftAdapterMixin):
    """SVD's U-Net with layers that obey the FrameLayout of each call; ColorUNet and SketchControlNet derive from it.

    It takes adapters as other networks of diffusers do, which SVD's own class does not.
    """

    def _install_layout(self, norm_groups: int) -> None:
        self._context = LayoutContext()
        for norm in [m for m in self.modules() if isinstance(m, nn.GroupNorm)]:
            norm.num_groups = norm_groups
        layer = 0
        for part in (self.down_blocks, self.mid_block, self.up_blocks):  # the original's order of counting
            layer = install_layout(part, self._context, layer)

    @apply_forward_hook
    def embed_condition(self, encoder_hidden_states: Tensor, added_time_ids: Tensor) -> ConditionEmbeddings:
        """Compute what depends on the condition alone, for many calls. Arguments as in `forward`."""
        added = self._embed_added(added_time_ids, encoder_hidden_states.dtype)
        if encoder_hidden_states.shape[1] != 1:
            return ConditionEmbeddings(added, None)
        cross_outputs = {}
        for attn in self.modules():
            if isinstance(attn, Attention) and isinstance(attn.processor, SingleTokenCrossAttnProcessor):
                cross_outputs[attn] = attn.processor.single_token_output(attn, encoder_hidden_states)
        return ConditionEmbeddings(added, cross_outputs)

    def _embed_added(self, added_time_ids: Tensor, dtype: torch.dtype) -> Tensor:
        """(b 3) => (b c)"""
        sinusoids = self.add_time_proj(added_time_ids.flatten()).reshape(added_time_ids.shape[0], -1)
        return self.add_embedding(sinusoids.to(dtype))

    def _embed(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        added_time_ids: Tensor,
        layout: FrameLayout | None,
        condition_embeddings: ConditionEmbeddings | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(b t c h w) => folded input features (b t) c h w, and the arguments that every block takes.

        ValueError: the layout is for another number of frames.
        """
        b, t = sample.shape[:2]
        layout = layout or FrameLayout.plain(t)
        if layout.num_frames != t:
            raise ValueError(f"the layout is for {layout.num_frames} frames, the sample has {t}")
        self._context.layout = layout
        self._context.cross_outputs = condition_embeddings.cross_outputs if condition_embeddings else None

        timestep = torch.as_tensor(timestep, device=sample.device).expand(b)
        if condition_embeddings:
            added = condition_embeddings.added
        else:
            added = self._embed_added(added_time_ids, sample.dtype)
        emb = self.time_embedding(self.time_proj(timestep).to(sample.dtype)) + added
        arguments = {
            "temb": emb.repeat_interleave(t, dim=0),
            "encoder_hidden_states": encoder_hidden_states.repeat_interleave(t, dim=0),
            "image_only_indicator": sample.new_zeros(b, t),
        }
        return self.conv_in(sample.flatten(0, 1)), arguments

    def _encode(self, x: Tensor, arguments: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Input blocks and middle => the middle's output and the skips, the input's features first."""
        skips = [x]
        for block in self.down_blocks:
            x, more = self._call(block, x, arguments)
            skips += more
        return self._call(self.mid_block, x, arguments), skips

    @staticmethod
    def _call(block: nn.Module, x: Tensor, arguments: dict[str, Tensor], **more):
        if not getattr(block, "has_cross_attention", False):
            arguments = {k: v for k, v in arguments.items() if k != "encoder_hidden_states"}
        return block(hidden_states=x, **arguments, **more)
