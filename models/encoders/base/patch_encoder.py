"""Define what recipes need of an encoder: patches of a spectrogram, some of them kept, and blocks over tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from oscine.models.encoders.base.features import Features, timm_indices
from oscine.models.encoders.base.layers import CHUNK, gather_patches, join_chunks, run_blocks
from oscine.models.encoders.base.spectral_encoder import SpectralEncoder
from oscine.models.encoders.frontends.mel import MELS, PATCH, Frontend
from oscine.models.errors import OscineError
from oscine.models.timm_parts import PatchEmbed

# timm's names for the layouts of patches, in which height is time and width is frequency
LAYOUTS = {
    "NCHW": "batch (time freq) dim -> batch dim time freq",
    "NLC": "batch (time freq) dim -> batch (time freq) dim",
}


class PatchEncoder(SpectralEncoder):
    """A vision transformer over the patches of a spectrogram.

    A subclass adds its blocks and norms under the published parameter names and says how a sequence begins (`begin`), how
    the last layer is finished (`finish`) and what its one vector a clip is (`pool`).

    heads        attention heads of a block
    """

    patch_embed: PatchEmbed
    cls_token: nn.Parameter
    pos_embed: nn.Parameter
    blocks: nn.ModuleList
    grad_checkpointing = False

    def __init__(self, frontend: Frontend, *, dim: int, depth: int, heads: int, seconds: float) -> None:
        samples = round(seconds * frontend.sample_rate)
        if heads < 1 or dim % heads or dim % 4:
            raise OscineError(f"dim={dim}, heads={heads}: dim must be a multiple of heads and of 4")
        if depth < 1 or frontend.raw_frames(samples) < 1 or samples < 1:
            raise OscineError(
                f"depth={depth}, seconds={samples / frontend.sample_rate:g}: expected a block and a frame at least"
            )
        super().__init__(
            frontend,
            dim=dim,
            depth=depth,
            seconds=seconds,
            grid=(frontend.frames(samples) // PATCH, MELS // PATCH),
            step_seconds=PATCH * frontend.frame_seconds,
        )
        self.heads = heads
        self.add_patch_embedding()

    def add_patch_embedding(self) -> None:
        """Add the projection of patches to tokens; a method, because BEATs has one of its own under another name."""
        self.patch_embed = PatchEmbed(img_size=None, patch_size=PATCH, in_chans=1, embed_dim=self.dim)

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """What timm's wrappers ask of a model: the name, width and stride of every layer that it can return."""
        return [
            {"module": f"{self.block_path}.{layer}", "num_chs": self.dim, "reduction": PATCH}
            for layer in range(self.depth)
        ]

    @property
    def num_prefix_tokens(self) -> int:
        return 1  # CLS, or what an encoder without one puts in its place

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.grad_checkpointing = enable

    def steps(self, samples: int) -> int:
        return self.frontend.frames(samples) // PATCH

    def prepare(self, waveform: Tensor) -> Tensor:  # [batch, frames, mel]
        """Return the spectrogram of a waveform [batch, samples], with as many frames as it fills."""
        return self.frontend(waveform)

    def prepare_clips(self, clips: Sequence[Tensor], samples: int | None = None) -> Tensor:  # [clip, frames, mel]
        """Make spectrograms of clips, [samples] each; shorter ones are filled up as the recipe does.

        That need not be with silence. samples: of a whole clip, by default the encoder's. On the encoder's device.
        """
        frames = self.frontend.frames(samples or self.samples)
        made: dict[int, Tensor] = {}
        for length in {len(clip) for clip in clips}:
            places = [place for place, clip in enumerate(clips) if len(clip) == length]
            waveform = self.on_device(torch.stack([clips[place] for place in places]))
            made |= zip(places, self.frontend(waveform, frames))
        return torch.stack([made[place] for place in range(len(clips))])

    spectrogram = prepare_clips  # its name while every encoder had a spectrogram

    def features(self, input: Tensor, layers: Sequence[int] | None = None) -> Features:
        """Compute the features of a spectrogram [batch, frames, mel] of its frontend."""
        wanted = self.layer_numbers(layers)
        outputs = self.encode(input, layers=[*wanted, -1])
        last = outputs.pop()
        outputs = [
            self.finish(last) if layer == self.depth - 1 else tokens
            for layer, tokens in zip(wanted, outputs, strict=True)
        ]
        freq = self.grid[1]
        return Features(
            cls=torch.stack([tokens[:, 0] for tokens in outputs]),
            patches=torch.stack(
                [
                    rearrange(tokens[:, 1:], "batch (time freq) dim -> batch time freq dim", freq=freq)
                    for tokens in outputs
                ]
            ),
            pooled=self.pool(last),
        )

    def encode(
        self, spectrogram: Tensor, keep: Tensor | None = None, layers: Sequence[int] | None = None
    ) -> list[Tensor]:
        """Return the raw outputs of the blocks, CLS first: each [batch, 1 + patches, dim].

        spectrogram [batch, frames, mel], as the frontend makes it. keep [batch * views, kept] are the patches that are seen,
        ascending, every view of a clip after the other; the outputs are then [batch * views, 1 + kept, dim].
        """
        return self.block_outputs(self.embed(spectrogram), keep, self.layer_numbers(layers))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        output_dict: bool = False,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> list[Any] | tuple[Tensor, list[Any]] | dict[str, Any]:
        """Return features of several layers, with timm's signature and results, for code that was written for timm.

        x: a spectrogram [batch, frames, mel], or the image [batch, 1, frames, mel]. indices: layers by number, or how many
        from the end; they come in the order of depth. output_fmt: "NCHW", [batch, dim, time, freq], or "NLC", [batch,
        patches, dim]. norm: apply the final norm to every layer, where there is one. The prefix is CLS, [batch, 1, dim],
        or what an encoder without one puts in its place. Masked attention is refused.
        """
        if attn_mask is not None or is_causal:
            raise OscineError(
                "an attention mask came, these encoders attend to every patch; leave out attn_mask, is_causal"
            )
        if output_fmt not in LAYOUTS:
            raise OscineError(f"output_fmt is {output_fmt!r}, expected {' or '.join(LAYOUTS)}")
        wanted = timm_indices(indices, self.depth)
        image = x.ndim == 4 and x.shape[1] == 1
        outputs = self.encode(x[:, 0] if image else x, layers=wanted if stop_early else [*wanted, -1])
        final = self.finish(outputs[-1])
        chosen = [self.finish(tokens) if norm else tokens for tokens in outputs[: len(wanted)]]
        prefix = [tokens[:, :1] for tokens in chosen]
        patches = [rearrange(tokens[:, 1:], LAYOUTS[output_fmt], freq=self.grid[1]).contiguous() for tokens in chosen]
        if output_dict:
            return (
                {"image_intermediates": patches}
                | ({"image_intermediates_prefix": prefix} if return_prefix_tokens else {})
                | ({} if intermediates_only else {"image_features": final})
            )
        intermediates = list(zip(patches, prefix)) if return_prefix_tokens else patches
        return intermediates if intermediates_only else (final, intermediates)

    def embed(self, spectrogram: Tensor) -> Tensor:  # [batch, patches, dim]
        """Embed patches with their positions, time-major; no CLS yet."""
        self._check_spectrogram(spectrogram)
        image = rearrange(spectrogram, "batch frames mel -> batch 1 frames mel")
        tokens = self.patch_embed(image.to(self.patch_embed.proj.weight.dtype))
        return tokens + self.patch_positions()[:, : tokens.shape[1]]

    def block_outputs(self, patches: Tensor, keep: Tensor | None, wanted: Sequence[int]) -> list[Tensor]:
        """Run embedded patches [batch, patches, dim] through the blocks; return the wanted outputs, as `encode` does."""
        tokens = self.begin(patches if keep is None else gather_patches(patches, keep))
        return run_blocks(self.blocks, tokens, wanted, checkpointing=self.grad_checkpointing)

    def position_table(self, dim: int) -> Tensor:  # [patches, dim]
        """Return the fixed positions of patches, for tokens of any width: a recipe's decoder uses them too."""
        raise NotImplementedError

    def patch_positions(self) -> Tensor:  # [1, patches, dim]
        """Return the part of `pos_embed` that belongs to patches."""
        raise NotImplementedError

    def begin(self, tokens: Tensor) -> Tensor:
        """Make of patches [batch, patches, dim] what the first block reads, [batch, 1 + patches, dim]."""
        raise NotImplementedError

    def finish(self, last: Tensor) -> Tensor:
        """Turn the last block's raw output [batch, 1 + patches, dim] into what stands in `Features`, of the same shape."""
        return last

    def pool(self, last: Tensor) -> Tensor:  # [batch, dim]
        """Pool the last block's raw output [batch, 1 + patches, dim] to a vector a clip, as the published model does."""
        raise NotImplementedError

    def _check_spectrogram(self, spectrogram: Tensor) -> None:
        fits = spectrogram.ndim == 3 and spectrogram.shape[2] == MELS and spectrogram.shape[1] % PATCH == 0
        if not fits or not spectrogram.shape[1]:
            raise OscineError(
                f"spectrogram has shape {tuple(spectrogram.shape)}, expected [batch, frames, {MELS}] with frames a "
                f"multiple of {PATCH}; encoder.frontend(waveform) makes one"
            )


class ChunkedEncoder(PatchEncoder):
    """An encoder that takes any length: a longer spectrogram is encoded in chunks of 1024 frames.

    Each chunk has a CLS token and positions of its own; patches are joined in time, CLS is the mean over chunks, each
    counted once however short it is.
    """

    any_length = True

    def encode(
        self, spectrogram: Tensor, keep: Tensor | None = None, layers: Sequence[int] | None = None
    ) -> list[Tensor]:
        """Encode any number of frames as `PatchEncoder.encode` does; `keep` only for what fits one chunk."""
        self._check_spectrogram(spectrogram)
        frames = spectrogram.shape[1]
        if frames <= CHUNK:
            return super().encode(spectrogram, keep, layers)
        if keep is not None:
            raise OscineError(
                f"patches can be kept in up to {CHUNK} frames, the spectrogram has {frames}; cut it first"
            )
        whole = frames // CHUNK * CHUNK
        full = super().encode(
            rearrange(spectrogram[:, :whole], "batch (chunk frames) mel -> (batch chunk) frames mel", frames=CHUNK),
            layers=layers,
        )
        parts, shape = whole // CHUNK, "(batch chunk) token dim -> batch chunk token dim"
        chunks = [rearrange(tokens, shape, chunk=parts) for tokens in full]
        if whole == frames:
            return [join_chunks(tokens) for tokens in chunks]
        rest = super().encode(spectrogram[:, whole:], layers=layers)
        return [join_chunks(tokens, tail) for tokens, tail in zip(chunks, rest, strict=True)]
