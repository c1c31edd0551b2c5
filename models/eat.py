"""The encoder of EAT and SSLAM: post-norm blocks over any length at 16 kHz (arXiv 2401.03497; openreview odU59TxdiB)."""

from __future__ import annotations

from torch import Tensor

from oscine.models.frontend import MELS, EATFrontend
from oscine.models.layers import CHUNK, PATCH, beside, sincos_positions
from oscine.models.post_norm import PostNormEncoder

# Names in the authors' files, from fairseq and on the Hub, and what they are here: those of BAT, which has the same parts.
NAMES = {
    "modality_encoders.IMAGE.": "",
    "extra_tokens": "cls_token",
    "fixed_positional_encoder.positions": "pos_embed",
    "local_encoder.": "patch_embed.",
    "context_encoder.norm.": "pre_norm.",
}
# What stands beside the encoder: the decoder of pretraining, the norm and the head of fine-tuning.
DISCARDED = ("decoder.", "shared_decoder.", "recon_proj.", "cls_proj.", "center", "fc_norm.", "head.")


class EAT(PostNormEncoder):
    """Post-norm blocks on Kaldi's filter bank; any length of sound.

    SSLAM is the same architecture, trained on mixtures. `mean` and `std` are of AudioSet's log mel values
    as the authors of BAT evaluate both models; EAT's own scripts have -4.268 and 4.569, and pad before they standardise.
    """

    def __init__(
        self,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        sample_rate: int = 16_000,
        seconds: float = 10.23,
        mean: float = -4.59864076,
        std: float = 4.357353477,
    ) -> None:
        config = {
            "dim": dim, "depth": depth, "heads": heads, "mlp_ratio": mlp_ratio, "drop_path": drop_path,
            "sample_rate": sample_rate, "seconds": seconds, "mean": mean, "std": std,
        }  # fmt: skip
        super().__init__(config, EATFrontend(sample_rate, mean, std))

    def position_table(self, dim: int) -> Tensor:
        # With its axes exchanged the table of Bird-MAE and BAT is what it was meant to be: frequency, then time.
        return sincos_positions((MELS // PATCH, CHUNK // PATCH), dim)


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors out of a checkpoint of EAT or SSLAM: fairseq's, pretrained or fine-tuned, or the Hub's.

    Of a position table for up to 768 patches of time, the rows of one chunk are taken.
    """
    tensors = {}
    for name, tensor in beside(state, "blocks.0.attn.qkv.weight").items():
        for theirs, ours in NAMES.items():
            if name.startswith(theirs):
                name = ours + name.removeprefix(theirs)
        if not name.startswith(DISCARDED):
            tensors[name] = tensor
    if "pos_embed" in tensors:
        tensors["pos_embed"] = tensors["pos_embed"][:, : CHUNK // PATCH * MELS // PATCH]
    return tensors
