"""The condition: the reference's latent and CLIP embedding, against diffusers, torchvision and torch."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from transformers import CLIPImageProcessor

from lvcd.nn.condition import CLIP_MEAN, CLIP_STD, Condition, LatentEncoder, added_time_ids, clip_token, encode_mode


def test_numbers():
    assert added_time_ids(2).tolist() == [[6.0, 160.0, 0.0]] * 2
    assert added_time_ids(1, fps=12, motion_bucket=30, cond_aug=0.5).tolist() == [[12.0, 30.0, 0.5]]
    assert added_time_ids(1).dtype == torch.float32


def test_the_dropped_condition_keeps_only_the_numbers():
    condition = Condition(torch.randn(2, 1, 5), torch.randn(2, 3, 4, 2, 2), added_time_ids(2))
    dropped = condition.unconditional()
    assert dropped.token.shape == (2, 1, 5) and (dropped.token == 0).all()
    assert dropped.latent.shape == (2, 3, 4, 2, 2) and (dropped.latent == 0).all()
    assert torch.equal(dropped.added_time_ids, condition.added_time_ids)
    assert (condition.token != 0).all() and (condition.latent != 0).all()


@torch.no_grad()
def test_the_latent_is_the_posteriors_mode_unscaled(pipeline):
    images = torch.rand(2, 3, 16, 24) * 2 - 1
    want = pipeline.vae.encode(images).latent_dist.mode()
    assert want.shape == (2, 4, 4, 6)
    torch.testing.assert_close(encode_mode(pipeline.vae, images), want)


@torch.no_grad()
@pytest.mark.parametrize("pixels, counts", [(1, [1] * 5), (2 * 16 * 24, [2, 2, 1]), (10**6, [5])])
def test_a_few_frames_are_encoded_at_a_time(pipeline, monkeypatch, pixels, counts):
    images, seen = torch.rand(5, 3, 16, 24) * 2 - 1, []
    want = pipeline.vae.encode(images).latent_dist.mode()
    monkeypatch.setattr("lvcd.nn.condition.ENCODER_BATCH_PIXELS", pixels)
    hook = pipeline.vae.encoder.register_forward_pre_hook(lambda net, args: seen.append(len(args[0])))
    got = encode_mode(pipeline.vae, images)
    hook.remove()
    torch.testing.assert_close(got, want)
    assert seen == counts


@torch.no_grad()
def test_an_encoder_apart_from_its_vae(tmp_path):
    torch.manual_seed(0)
    shape = {"block_out_channels": (32, 64), "layers_per_block": 1}
    vae = AutoencoderKLTemporalDecoder(down_block_types=("DownEncoderBlock2D",) * 2, **shape)
    encoder = LatentEncoder(**shape)
    encoder.load_state_dict({k: v for k, v in vae.state_dict().items() if k.startswith(("encoder.", "quant_conv."))})
    images = torch.rand(1, 3, 8, 12) * 2 - 1
    want = encode_mode(vae, images)
    assert torch.equal(encode_mode(encoder, images), want)
    encoder.save_pretrained(tmp_path)
    assert torch.equal(encode_mode(LatentEncoder.from_pretrained(tmp_path), images), want)


# ----------------------------------------------------------------------------------------------------------- CLIP token


def test_clips_statistics_are_openais():
    processor = CLIPImageProcessor()
    assert pytest.approx(processor.image_mean) == CLIP_MEAN and pytest.approx(processor.image_std) == CLIP_STD


@torch.no_grad()
def test_the_token_of_a_picture_of_the_encoders_size(pipeline):
    """No resizing: what transformers' own preprocessing gives."""
    clip = pipeline.image_encoder
    side = clip.config.image_size
    bytes_ = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    processor = CLIPImageProcessor(do_resize=False, do_center_crop=False)
    want = clip(processor(list(bytes_.numpy()), return_tensors="pt")["pixel_values"]).image_embeds
    got = clip_token(clip, bytes_.float() / 127.5 - 1)
    assert got.shape == (2, 1, clip.config.projection_dim)
    torch.testing.assert_close(got[:, 0], want, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("size", [(16, 16), (40, 24), (96, 160)])
def test_any_size_is_squeezed_into_the_square(pipeline, size):
    """Of a flat picture every size looks the same; of a ramp, the ends are where the ends of the square are."""
    clip = pipeline.image_encoder
    side = clip.config.image_size
    color = torch.tensor([0.5, -0.2, 0.9]).view(1, 3, 1, 1)
    flat = clip_token(clip, color.expand(1, 3, side, side))
    torch.testing.assert_close(clip_token(clip, color.expand(1, 3, *size)), flat, atol=1e-5, rtol=1e-4)

    def ramp(height, width):
        return torch.linspace(-0.9, 0.9, width).expand(1, 3, height, width)

    off = (clip_token(clip, ramp(*size)) - clip_token(clip, ramp(side, side))).abs().max()
    turned = (clip_token(clip, ramp(*size)) - clip_token(clip, ramp(side, side).transpose(2, 3))).abs().max()
    assert off < turned / 5


@torch.no_grad()
def test_fine_patterns_are_averaged(pipeline):
    """Antialiased: of black and white dots one pixel wide, CLIP sees grey."""
    dots = ((torch.arange(256)[:, None] + torch.arange(256)) % 2 * 2.0 - 1).expand(1, 3, 256, 256)
    grey, white = (clip_token(pipeline.image_encoder, torch.full((1, 3, 256, 256), x)) for x in (0.0, 1.0))
    got = clip_token(pipeline.image_encoder, dots)
    assert (got - grey).abs().max() < (white - grey).abs().max() / 20
