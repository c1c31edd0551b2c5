"""Define the contract of every encoder: waveforms in, `Features` out, audio settings and weights in one object."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from oscine.models.audio.waveforms import Waveforms, as_batch, as_clips, is_list
from oscine.models.compat import name_for_export
from oscine.models.encoders.base.features import Features, check_layers
from oscine.models.encoders.base.provenance import Origin
from oscine.models.encoders.frontends.mel import Picture, log_mel_picture
from oscine.models.errors import OscineError

# Norms around the blocks learn as the last block's successor; BAT's and AudioMosaic's authors leave the one before the first
# there, too.
TOP = ("norm", "fc_norm", "pre_norm", "norm_pre")
NO_DECAY = ("cls_token", "pos_embed", "relative_attention_bias.weight", "grep_a")

logger = logging.getLogger(__name__)

name_for_export(Features, "oscine.Features")


class Encoder(nn.Module):
    """The part of an encoder that probes, embeddings, predictions and exports need, and nothing of how it is made.

    A subclass hands its sizes to this constructor and gives `features`; also `prepare`, where it computes on more than the
    waveform, and `steps`, where it takes clips of any length. What it needs to compute the same again lies in its
    parameters and buffers: records, stores and saved folders know an encoder by its `state_dict` and its config.

    config        the numbers that it was constructed with; `Class(**config)` builds the same architecture
    dim, depth    width of the last layer, number of layers
    grid          (time, freq) of the map that `Features.patches` has for one clip; frames without frequencies have freq 1
    step_seconds  from one time step of that map to the next
    sample_rate   of the waveforms it takes, in Hz
    samples       of one clip
    provenance    where its weights came from (model, repository, revision, sha256); None where they are random
    origin        whose weights they are, or were before they were trained further; None where nobody else's

    What an encoder can do, for those who call it to ask:

    any_length    clips of any length; otherwise shorter ones are filled up with silence and longer ones refused
    stacked       all layers have one width and grid, so that `Features` holds any number of them; otherwise it holds one
    trainable     gradients reach its weights, so that it can be fine-tuned
    exportable    PyTorch can follow it from the waveform on, so that it can be written as an ONNX file
    spectral      its input is a spectrogram [batch, frames, mel], in which bands can be hidden
    spatial       `Features.patches` is a map; otherwise the one vector of a clip stands for its only patch
    class_token   `Features.cls` is a token of its own; otherwise the mean of the patches stands for it
    of_a_file     its weights are an ONNX file as a whole, from which its settings come, too
    not_finite    why features that are no numbers come, and what would do, for the error
    """

    config: dict[str, Any]
    provenance: dict[str, str | None] | None = None
    origin: Origin | None = None
    block_path = "blocks"  # where a subclass keeps its layers' modules: by them fine-tuning lowers the learning rate
    any_length = False
    stacked = True
    trainable = True
    exportable = True
    spectral = False
    spatial = True
    class_token = True
    of_a_file = False
    not_finite = "its weights are broken"

    def __new__(cls, *args: Any, **kwargs: Any) -> Encoder:
        """Note the constructor's own numbers, so that no subclass has to write its config down."""
        made = super().__new__(cls)
        made.config = constructed_with(cls, args, kwargs)
        return made

    def __init__(
        self, *, dim: int, depth: int, sample_rate: int, seconds: float, grid: tuple[int, int], step_seconds: float
    ) -> None:
        super().__init__()
        self.dim, self.depth, self.grid = dim, depth, grid
        self.sample_rate = sample_rate
        self.samples = round(seconds * sample_rate)
        self.step_seconds = step_seconds
        if min(dim, depth, sample_rate, self.samples, *grid, step_seconds) <= 0:
            raise OscineError(
                f"{type(self).__name__} has dim={dim}, depth={depth}, sample_rate={sample_rate}, seconds={seconds:g}, "
                f"grid={grid}, step_seconds={step_seconds:g}; expected all above 0"
            )

    @property
    def seconds(self) -> float:
        """Length of one clip."""
        return self.samples / self.sample_rate

    @property
    def device(self) -> torch.device:
        weight = next(chain(self.parameters(), self.buffers()), None)
        return torch.device("cpu") if weight is None else weight.device

    @property
    def called(self) -> str:
        """Return the name that its weights were asked for by, or its class's."""
        return (self.provenance or {}).get("model") or type(self).__name__

    def say_what_cls_is(self) -> None:
        """Log, where it has no class token, what `Features.cls` is."""
        if not self.class_token:
            instead = "the mean of its patches" if self.spatial else "a clip's one vector"
            logger.info("%s has no class token: cls is %s", self.called, instead)

    @property
    def num_features(self) -> int:
        """`dim` under the name that timm gives it."""
        return self.dim

    @property
    def num_prefix_tokens(self) -> int:
        """How many tokens stand before the patches in what its blocks give, under timm's name."""
        return 0

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep no activations inside blocks while it learns: the backward pass computes them again. timm's name."""
        raise OscineError(f"{type(self).__name__} has no blocks to compute again; leave gradient checkpointing out")

    @property
    def frontend_name(self) -> str:
        """Of what makes the input, as records have it; by default the encoder itself."""
        return type(self).__name__

    @property
    def preparing(self) -> Callable[[Tensor], Tensor]:
        """What `prepare` computes, of which export has forms that ONNX can say and run fast."""
        return self.prepare

    def forward(
        self, waveform: Waveforms, sample_rate: int | None = None, layers: Sequence[int] | None = None
    ) -> Features:
        """Encode a batch of clips. waveform [batch, samples], mono float, at the encoder's sample rate.

        Or a list of clips of several lengths, [samples] each, up to the encoder's: each is filled up as in the encoder's
        training, so that no clip depends on the others. Arrays are taken as tensors are, and to the encoder's device.
        sample_rate: the waveform's, if you want it checked; one that differs from the encoder's is an error.
        layers: which layers to return, in that order; negative numbers count from the end; None is all of them, or the
        last where they are not `stacked`.
        """
        if is_list(waveform):
            clips = as_clips(waveform, self.samples)  # type: ignore[arg-type]
            self._check_sample_rate(sample_rate)
            return self.features(self.prepare_clips(clips), layers)
        batch = as_batch(waveform)  # type: ignore[arg-type]
        self._check_sample_rate(sample_rate)
        if batch.shape[0] == 0:  # layers that no batch without clips passes are many
            silence = torch.zeros(1, self.samples, device=self.device)
            return self.features(self.prepare(silence), layers).take(slice(0))
        return self.features(self.prepare(batch if batch is waveform else self.on_device(batch)), layers)

    def prepare(self, waveform: Tensor) -> Tensor:
        """Make of clips [batch, samples] what `features` takes, [batch, ...]: here the waveform itself, in float32.

        Clip by clip: none depends on the others. Of an encoder of one length, filled up with silence to that.
        """
        if self.any_length:
            return waveform.float()
        if waveform.shape[1] > self.samples:
            raise OscineError(
                f"waveform has {waveform.shape[1]} samples, clips of {type(self).__name__} have {self.samples}; "
                f"split_clips(waveform, {self.samples}) cuts a longer recording"
            )
        return pad(waveform.float(), (0, self.samples - waveform.shape[1]))

    def prepare_clips(self, clips: Sequence[Tensor], samples: int | None = None) -> Tensor:  # [clip, ...]
        """Prepare clips of several lengths, [samples] each; shorter ones are filled up, here with silence.

        samples: of a whole clip, by default the encoder's. On the encoder's device.
        """
        whole = samples or self.samples
        return self.prepare(self.on_device(torch.stack([pad(clip, (0, max(0, whole - len(clip)))) for clip in clips])))

    def features(self, input: Tensor, layers: Sequence[int] | None = None) -> Features:
        """Compute features from what `prepare` has made; `Features.of_patches` builds them. layers: as in `forward`."""
        raise NotImplementedError(f"{type(self).__name__} has no features(input, layers), which makes its Features")

    def steps(self, samples: int) -> int:
        """Return how many time steps `Features.patches` has for clips of so many samples."""
        if self.any_length and samples != self.samples:
            raise NotImplementedError(f"{type(self).__name__} takes any length, so it has to give steps(samples)")
        if samples > self.samples:
            raise OscineError(
                f"clips of {samples / self.sample_rate:g} s were asked for, those of {type(self).__name__} have "
                f"{self.seconds:g} s; ask for {self.seconds:g} s, or take an encoder of any length"
            )
        return self.grid[0]

    def picture(self, waveform: Tensor, samples: int | None = None) -> Picture:
        """Return a spectrogram of a waveform [samples] for people to look at, whatever the encoder computes on.

        The frequencies of `grid`, if it has several, lie evenly over the picture's bands. samples: as far as it is filled
        up with silence.
        """
        return log_mel_picture(pad(waveform, (0, max(0, (samples or 0) - len(waveform)))), self.sample_rate)

    def layer_numbers(self, layers: Sequence[int] | None) -> list[int]:
        """Count layers from 0, also those counted from the end; None is all, or the last if they are not stacked."""
        if layers is None:
            return list(range(self.depth)) if self.stacked else [self.depth - 1]
        if isinstance(layers, int):
            raise OscineError(f"layers is {layers}, expected a list; layers=[{layers}] asks for that layer alone")
        check_layers(layers, self.depth)
        numbers = [layer % self.depth for layer in layers]
        if not self.stacked and len(set(numbers)) > 1:
            raise OscineError(
                f"layers {', '.join(map(str, numbers))} of {type(self).__name__} differ in width, so that one tensor cannot "
                "hold them; ask for one at a time"
            )
        return numbers

    @property
    def decay_layers(self) -> int:
        """How many layers `layer_of` counts between what lies below them and what lies above."""
        return self.depth

    def layer_of(self, parameter: str) -> int:
        """Return how far up a parameter lies, by which fine-tuning lowers its learning rate.

        It is 0 for embeddings, 1 for the first block, `decay_layers` + 1 for what follows the last.
        """
        before, _, rest = parameter.partition(f"{self.block_path}.")
        if not before and rest:
            return int(rest.partition(".")[0]) + 1
        return self.decay_layers + 1 if parameter.partition(".")[0] in TOP else 0

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Return what tells the layer of a parameter, as timm's optimizers with layer decay ask for it."""
        return self.layer_of

    def no_weight_decay(self) -> set[str]:
        """Name the trained parameters of several axes that do not decay all the same, as timm's optimizers ask for it."""
        return {name for name, one in self.named_parameters() if one.ndim > 1 and name.endswith(NO_DECAY)}

    def check_device(self, device: str) -> None:
        """Raise where the encoder cannot compute on a kind of device, such as cuda, though torch can."""

    def on_device(self, waveform: Tensor) -> Tensor:
        """Move a waveform to the encoder's device."""
        if waveform.device.type == "cpu" and self.device.type == "cuda":
            return waveform.pin_memory().to(self.device, non_blocking=True)  # while the batch before is computed
        return waveform.to(self.device)

    def _check_sample_rate(self, sample_rate: int | None) -> None:
        if sample_rate is not None and sample_rate != self.sample_rate:
            raise OscineError(
                f"waveform has {sample_rate} Hz, this encoder takes {self.sample_rate} Hz; "
                f"load_audio(path, {self.sample_rate}) resamples"
            )


def constructed_with(kind: type[Encoder], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what a class's constructor is called with, defaults included, in the order of its parameters."""
    signature = inspect.signature(kind.__init__)
    try:
        bound = signature.bind_partial(None, *args, **kwargs)
    except TypeError:
        return {}  # the constructor itself will say what is wrong with them
    bound.apply_defaults()
    config: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:
        further = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        config |= value if further else {name: list(value) if isinstance(value, tuple) else value}  # as JSON has it
    return config
