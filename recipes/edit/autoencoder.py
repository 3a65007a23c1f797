"""An `AutoencoderKL` whose weights are set by hand so that decoding and encoding change nothing.

The latents are the pixels, so code written for Stable Diffusion's latents runs as it is, at a size
where every latent can be looked at.
"""

# mypy: disable-error-code="attr-defined, no-untyped-call, operator"
# diffusers and transformers set these attributes at run time or leave them untyped

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

CHANNELS = 8
PIN = 1000.0


@torch.no_grad()
def identity_autoencoder() -> AutoencoderKL:
    """Latents (B, 3, H, W) equal images (B, 3, H, W) to about 1e-6, with scaling factor 1.

    Each colour travels as the pair x, −x, because silu(x) − silu(−x) = x. Two constant channels of
    ±1000 fix the statistics of the last group normalisation, which therefore only divides by a
    known number. Everything between adds zero.
    """
    model: AutoencoderKL = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        block_out_channels=(CHANNELS,),
        layers_per_block=1,
        latent_channels=3,
        norm_num_groups=1,
        sample_size=32,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.zero_()
            if module.bias is not None:
                module.bias.zero_()
    for half in (model.encoder, model.decoder):
        half.conv_in.weight[:6, :, 1, 1] = _signed_pairs()
        half.conv_in.bias[6:] = torch.tensor([PIN, -PIN])
        # over one group of 8 channels: mean 0, variance 2·1000²/8 plus that of the image
        half.conv_norm_out.weight.fill_(PIN / 2)
        half.conv_out.weight[:3, :6, 1, 1] = _signed_pairs().T
    for conv, rows in ((model.quant_conv, 3), (model.post_quant_conv, 3)):
        conv.weight[:rows, :rows, 0, 0] = torch.eye(rows)
    model.encoder.conv_out.bias[3:] = -30.0  # log variance: sampling adds nothing
    model.quant_conv.bias[3:] = -30.0
    model.eval()
    return model


def _signed_pairs() -> Tensor:
    """The (6, 3) matrix that copies each of three channels as x and as −x."""
    return torch.cat([torch.eye(3), -torch.eye(3)])
