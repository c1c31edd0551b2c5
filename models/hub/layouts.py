"""Bring tensors under their authors' names, in any layout, to the names of an encoder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from oscine.models.encoders.audio_mae import AudioMAE
from oscine.models.encoders.audiomosaic import AudioMosaic
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.layers import CHUNK
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.beats import BEATs
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.models.encoders.convnext import ConvNeXt
from oscine.models.encoders.eat import EAT
from oscine.models.encoders.frontends.mel import MELS, PATCH
from oscine.models.encoders.onnx_encoder import ONNXEncoder
from oscine.models.encoders.wav2vec2 import Wav2Vec2

State = dict[str, Tensor]

# Where a training checkpoint keeps its encoder, most specific first; "" is the bare published layout.
PREFIXES = ("student.encoder.", "encoder.", "model.", "")

# What stands beside an encoder: parts of pretraining and fine-tuning.
BAT_DISCARDED = ("decoder.", "head.")
EAT_DISCARDED = ("decoder.", "shared_decoder.", "recon_proj.", "cls_proj.", "center", "fc_norm.", "head.")
BEATS_DISCARDED = ("predictor.", "raw2fbank_pad.", "patch_embedding_pad.")  # a classifier; ESPnet's masks of padding
# transformers' heads for transcription, pretraining and classification; torchaudio's for transcription.
WAV2VEC2_DISCARDED = (
    "masked_spec_embed", "lm_head.", "quantizer.", "project_q.", "project_hid.", "projector.", "classifier.", "aux.",
)  # fmt: skip
AUDIO_MAE_DISCARDED = ("decoder", "mask_token", "head.")
AUDIOMOSAIC_DISCARDED = (
    "projector.", "logit_scale", "logit_bias", "online_classifier.", "head.", "attn_query", "attn_key.", "attn_value.",
    "layer_norms.",
)  # fmt: skip
CONVNEXT_DISCARDED = ("classifier.", "head.")  # of ConvNeXt_BS, of AudioProtoPNet: beside the encoder, not in it

# Names in the authors' files, from fairseq and on the Hub, and what they are here: those of BAT, which has the same parts.
EAT_NAMES = {
    "modality_encoders.IMAGE.": "",
    "extra_tokens": "cls_token",
    "fixed_positional_encoder.positions": "pos_embed",
    "local_encoder.": "patch_embed.",
    "context_encoder.norm.": "pre_norm.",
}
# Names in transformers' files, and timm's for the same.
CONVNEXT_NAMES = {
    r"^embeddings\.patch_embeddings\.": "stem.0.",
    r"^embeddings\.layernorm\.": "stem.1.",
    r"^encoder\.stages\.(\d+)\.downsampling_layer\.": r"stages.\1.downsample.",
    r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.": r"stages.\1.blocks.\2.",
    r"^layernorm\.": "head.norm.",
    r"(?<=\d\.)dwconv\.": "conv_dw.",
    r"(?<=\d\.)layernorm\.": "norm.",
    r"(?<=\d\.)pwconv(?=[12]\.)": "mlp.fc",
    r"(?<=\d\.)layer_scale_parameter$": "gamma",
}
TORCHAUDIO_NAMES = {"encoder.feature_projection.": "feature_projection.", "encoder.transformer.": "encoder."}
BEATS_SHARED = "self_attn.relative_attention_bias.weight"  # of the first layer, for all
# PyTorch's two spellings of a weight norm: older files have ours.
WEIGHT_NORM = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}


def bat_names(state: State) -> State:
    """Take the encoder's tensors of BAT and Bird-MAE out of a checkpoint, under their published names."""
    prefix = next(prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in state) or not prefix)
    if not prefix:
        return without(BAT_DISCARDED, state)
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def eat_names(state: State) -> State:
    """Take the encoder's tensors out of a checkpoint of EAT or SSLAM: fairseq's, fine-tuned or not, or the Hub's.

    Of a position table for up to 768 patches of time, the rows of one chunk are taken.
    """
    tensors = without(EAT_DISCARDED, renamed(EAT_NAMES, select_around(state, "blocks.0.attn.qkv.weight")))
    if "pos_embed" in tensors:
        tensors["pos_embed"] = tensors["pos_embed"][:, : CHUNK // PATCH * MELS // PATCH]
    return tensors


def beats_names(state: State) -> State:
    """Take the encoder's tensors out of a checkpoint of BEATs or its family, pretrained or fine-tuned.

    Files name the first layer's table of distances again in every layer, for it is one; a copy that differs is left in.
    """
    tensors = weight_norm(without(BEATS_DISCARDED, select_around(state, "patch_embedding.weight")))
    first = tensors.get(f"encoder.layers.0.{BEATS_SHARED}")
    copies = [name for name in tensors if name.endswith(BEATS_SHARED) and not name.startswith("encoder.layers.0.")]
    for name in copies:
        if first is not None and torch.equal(tensors[name], first):
            del tensors[name]
    return tensors


def audio_mae_names(state: State) -> State:
    """Take the encoder's tensors out of a checkpoint of Audio-MAE, from its authors or for timm.

    A pretrained one has no fc_norm, a fine-tuned one no norm.
    """
    tensors = without(AUDIO_MAE_DISCARDED, select_around(state, "patch_embed.proj.weight"))
    return with_norm(with_norm(tensors, "fc_norm", like="norm"), "norm", like="fc_norm")


def audiomosaic_names(state: State) -> State:
    """Take the encoder's tensors out of a checkpoint of AudioMosaic: pretrained, compiled, fine-tuned or of a probe.

    A compiled one has `_orig_mod.` before every name.
    """
    return without(AUDIOMOSAIC_DISCARDED, select_around(state, "patch_embed.proj.weight"))


def convnext_names(state: State) -> State:
    """Take the encoder's tensors out of a file of ConvNeXt_BS or AudioProtoPNet, transformers' names or timm's."""
    prefix = prefix_of(state, "embeddings.patch_embeddings.weight")
    if prefix is None:  # timm's names, perhaps with a classifier
        return without(("head.fc.",), state)
    outer = prefix.removesuffix("model.backbone.").removesuffix("convnext.")  # under which the classifier lies, too
    state = without(tuple(outer + part for part in CONVNEXT_DISCARDED), state)
    tensors = {name: state[name] for name in state if not name.startswith(prefix)}
    for name in state.keys() - tensors.keys():
        ours = name.removeprefix(prefix)
        for theirs, timms in CONVNEXT_NAMES.items():
            ours = re.sub(theirs, timms, ours)
        tensors[ours] = state[name]
    return tensors


def wav2vec2_names(state: State) -> State:
    """Take the encoder's tensors out of a checkpoint of HuBERT, wav2vec 2.0 or AVES: transformers' or torchaudio's.

    Where every convolution is normed over its channels, those of HuBERT large have no bias in torchaudio's files: it is 0.
    """
    tensors = without(WAV2VEC2_DISCARDED, select_around(state, "feature_extractor.conv_layers.0.conv.weight"))
    tensors = renamed(TORCHAUDIO_NAMES, tensors)
    kernels = [name for name in tensors if name.endswith(".conv.weight") and name.startswith("feature_extractor.")]
    biases = [name.removesuffix("weight") + "bias" for name in kernels]
    if "feature_extractor.conv_layers.1.layer_norm.weight" in tensors and not tensors.keys() & set(biases):
        tensors |= {bias: tensors[kernel].new_zeros(len(tensors[kernel])) for bias, kernel in zip(biases, kernels)}
    return weight_norm(tensors)


def select_around(state: State, anchor: str) -> State:
    """Select the tensors under the same prefix as the one called `anchor`, without it. No anchor: all, as they are."""
    prefix = prefix_of(state, anchor) or ""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def prefix_of(state: Iterable[str], anchor: str) -> str | None:
    """Return the shortest prefix under which a tensor called `anchor` lies; None where there is no such tensor."""
    prefixes = [name.removesuffix(anchor) for name in state if f".{name}".endswith(f".{anchor}")]
    return min(prefixes, key=len, default=None)


def renamed(beginnings: dict[str, str], state: State) -> State:
    """Exchange how names begin, theirs for ours, one after the other."""
    for theirs, ours in beginnings.items():
        state = {
            ours + name.removeprefix(theirs) if name.startswith(theirs) else name: tensor
            for name, tensor in state.items()
        }
    return state


def without(parts: tuple[str, ...], state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith(parts)}


def weight_norm(state: State) -> State:
    """Name the tensors of a weight norm as PyTorch's older files do, whichever came."""
    for theirs, ours in WEIGHT_NORM.items():
        state = {
            name.removesuffix(theirs) + ours if name.endswith(f".{theirs}") else name: state[name] for name in state
        }
    return state


def with_norm(state: State, absent: str, like: str) -> State:
    """Add a norm that the file may lack, with weights 1 and biases 0, as it starts."""
    if f"{absent}.weight" in state or f"{like}.weight" not in state:
        return state
    norm = state[f"{like}.weight"]
    return state | {f"{absent}.weight": torch.ones_like(norm), f"{absent}.bias": torch.zeros_like(norm)}


def as_it_is(state: State) -> State:
    """Return the tensors of an encoder that has no other layout than its own."""
    return state


# Every encoder, and how its authors' names become its own.
KEY_MAPPERS: dict[type[Encoder], Callable[[State], State]] = {
    BAT: bat_names,
    BirdMAE: lambda state: with_norm(bat_names(state), "fc_norm", like="norm"),  # training checkpoints have no fc_norm
    EAT: eat_names,
    BEATs: beats_names,
    AudioMAE: audio_mae_names,
    Wav2Vec2: wav2vec2_names,
    AudioMosaic: audiomosaic_names,
    ConvNeXt: convnext_names,
    ONNXEncoder: as_it_is,  # of a file that onnxruntime computes, see onnx_files.py
}
