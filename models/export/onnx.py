"""Write an encoder as one ONNX file: waveform [batch, samples] to pooled [batch, dim] and, with a head, logits."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from oscine import __version__
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.eval_mode import evaluating
from oscine.models.encoders.base.onnx_file import session_of
from oscine.models.errors import OscineError
from oscine.models.export.onnx_file import check_ready
from oscine.models.export.onnx_frontend import graph_of
from oscine.models.files import strip_local_paths, write_whole
from oscine.models.json_text import one_line
from oscine.models.locks import lock_output

INPUT, OUTPUT, LOGITS = "waveform", "embedding", "logits"
OPSET = 20  # the first with GELU as one operator; onnxruntime reads it since 1.17
LARGEST = 2**31 - 2**24  # bytes: a protobuf message ends at 2 GiB, and the graph itself needs some room
TOLERANCE = 1e-4


class Head(NamedTuple):
    """A module that reads an encoder's features and gives logits, such as a fitted probe.

    module: from `Features` of the named layers (None is all) to logits [batch, classes]. samples: of a clip. facts: more of
    what the file says of itself.
    """

    module: nn.Module
    layers: list[int] | None
    classes: list[str]
    samples: int
    facts: dict[str, str]


def export_onnx(encoder: Encoder, path: str | Path, overwrite: bool = False, head: Head | None = None) -> Path:
    """Write an encoder as one ONNX file, whole or not at all, once onnxruntime has given with it what PyTorch gives.

    Input "waveform" [batch, samples], float32: exactly one clip each, at the encoder's sample rate; batch is free. Output
    "embedding" [batch, dim], which is `Features.pooled`; with a head, in eval mode, also "logits" [batch, classes]. What a
    reader needs to cut clips and to name classes is in the file's metadata. 2 GiB or more do not fit one file and are
    refused.
    """
    path = Path(path)
    if encoder.of_a_file:
        raise OscineError(_is_a_file(encoder, head))
    if not encoder.exportable:
        raise OscineError(
            f"{type(encoder).__name__} cannot be written as an ONNX file: PyTorch does not follow it; run it in Python"
        )
    check_ready(path, overwrite)
    _check_weights(encoder, head)
    with lock_output(path, "choose another name"):
        check_ready(path, overwrite)  # again: another command may have written it meanwhile
        with evaluating(encoder):
            content = onnx_bytes(encoder, head)
            _check_equal(encoder, head, content)
        try:
            write_whole(path, content)
        except OSError as error:
            raise OscineError(
                f"{path} cannot be written ({error.strerror}); make room or choose another place"
            ) from None
    return path


def _is_a_file(encoder: Encoder, head: Head | None) -> str:
    """Say of an encoder that is an ONNX file already what there is to take instead of another one."""
    name = (encoder.provenance or {}).get("model") or type(encoder).__name__
    if head is None:
        return f"{name} is an ONNX file already and needs no export; take that file"
    return f"{name} is an ONNX file already, to which no probe can be added; oscine predict runs both"


def seconds_of(samples: int, sample_rate: int) -> float:
    """Return the seconds of samples such that int(seconds * sample_rate) is exactly these samples."""
    seconds = samples / sample_rate
    return seconds if int(seconds * sample_rate) == samples else math.nextafter(seconds, math.inf)


def metadata(encoder: Encoder, head: Head | None = None) -> dict[str, str]:
    """Return what the file states of itself.

    OpenSoundscape reads sample_rate, sample_duration (seconds), classes, class_outputs_key and embedding_outputs_key.
    """
    samples = head.samples if head else encoder.samples
    weights = dict(encoder.provenance or {})
    return {
        "model": strip_local_paths(weights.pop("model", None)) or type(encoder).__name__,
        "architecture": type(encoder).__name__,
        "config": json.dumps(encoder.config),
        "sample_rate": str(encoder.sample_rate),
        "samples": str(samples),
        "sample_duration": str(seconds_of(samples, encoder.sample_rate)),
        "dim": str(encoder.dim),
        "classes": json.dumps(head.classes if head else []),
        "embedding_outputs_key": OUTPUT,
        "oscine_version": __version__,
        **{f"weights_{key}": value for key, value in weights.items() if value},
        **({"class_outputs_key": LOGITS} | head.facts if head else {}),
    }


def onnx_bytes(encoder: Encoder, head: Head | None = None) -> bytes:
    """Write an encoder in eval mode as the bytes of an ONNX file, which is not yet compared with the encoder."""
    example = torch.zeros(2, head.samples if head else encoder.samples)
    graph = Graph(encoder, head)
    batch = {INPUT: {0: torch.export.Dim("batch")}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's, of what is deprecated inside it
        try:
            # Strict, so that Python's own len() of a batch stays free as well.
            program = torch.export.export(graph, (example,), dynamic_shapes=batch, strict=True)
            program = program.run_decompositions(DECOMPOSITIONS)
            # The optimiser takes BAT's 1e-8, without which silence is no number, for nothing. Readers have one of their own.
            made = torch.onnx.export(program, dynamo=True, opset_version=OPSET, optimize=False, verbose=False)
        except RuntimeError as error:  # all of the exporter's are
            raise OscineError(
                f"{type(encoder).__name__} cannot be written as an ONNX file: PyTorch does not follow it "
                f"({one_line(error)}); run it in Python"
            ) from error
    assert made is not None
    for value in [value for node in made.model.graph for value in node.outputs if value.name in (OUTPUT, LOGITS)]:
        value.name = f"inner_{value.name}"  # BEATs looks up an embedding of its own
    for value, name in zip(made.model.graph.outputs, (OUTPUT, LOGITS)):
        value.name = name
    return _described(made.model_proto, metadata(encoder, head)).SerializeToString()


def _described(model: Any, properties: dict[str, str]) -> Any:
    """Replace the exporter's properties, which name the line and file of every node here, by these."""
    graph = model.graph
    graph.ClearField("value_info")
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for key, value in properties.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.producer_version = "oscine", __version__
    return model


class Graph(nn.Module):
    """The computation of the file, in a way that ONNX can say and run fast: `pooled` and, with a head, logits."""

    def __init__(self, encoder: Encoder, head: Head | None = None) -> None:
        super().__init__()
        self.frontend = graph_of(encoder.preparing)  # tensors in files are named by it
        self.encoder = encoder
        self.head: nn.Module | None = head.module if head else None
        self.layers = head.layers if head else [-1]

    def forward(self, waveform: Tensor) -> tuple[Tensor, ...]:  # [batch, dim], and with a head [batch, classes]
        features = self.encoder.features(self.frontend(waveform), self.layers)
        return (features.pooled,) if self.head is None else (features.pooled, self.head(features))


def flat_linear(tokens: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply a linear layer to tokens [..., in] as one matrix, which onnxruntime does in one step instead of two."""
    flat = tokens.reshape(-1, tokens.shape[-1])
    product = flat @ weight.t() if bias is None else torch.addmm(bias, flat, weight.t())
    return product.reshape(*tokens.shape[:-1], len(weight))


def plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attend in the order that onnxruntime fuses, [batch, head, token, part]; the exporter scales queries and keys each."""
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    return (scores if mask is None else scores + mask).softmax(-1) @ value


DECOMPOSITIONS: dict[Any, Callable[..., Tensor]] = {
    torch.ops.aten.linear.default: flat_linear,
    torch.ops.aten.scaled_dot_product_attention.default: plain_attention,
}


def _check_weights(encoder: Encoder, head: Head | None) -> None:
    weights = [*encoder.parameters(), *(head.module.parameters() if head else ())]
    others = sorted({str(weight.dtype) for weight in weights if weight.dtype != torch.float32})
    if others:
        raise OscineError(
            f"weights are {', '.join(others)}, the file takes torch.float32; encoder.float() converts them"
        )
    if encoder.device.type != "cpu":
        raise OscineError(
            f"the encoder is on {encoder.device}, it is compared with the file on the CPU; encoder.cpu() moves it"
        )
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    if size > LARGEST:
        raise OscineError(
            f"{metadata(encoder)['model']} has {size / 2**30:.1f} GiB of weights, one ONNX file holds less than 2; export a "
            "smaller size, or run this one in PyTorch"
        )
    broken = [name for name, weight in encoder.state_dict().items() if not weight.isfinite().all()]
    if broken:
        raise OscineError(f"{metadata(encoder)['model']}: its weight {broken[0]} is not finite; load other weights")


def _check_equal(encoder: Encoder, head: Head | None, content: bytes) -> None:
    """Compare on batches of one and of several clips: noise, loud and hardly audible, silence, and an offset with a tone."""
    session = session_of(content)
    samples = head.samples if head else encoder.samples
    noise = torch.randn(3, samples, generator=torch.Generator().manual_seed(0))
    tone = torch.sin(torch.arange(samples) * 0.3)
    clips = torch.cat(
        [noise * torch.tensor([[1.0], [0.1], [1e-4]]), torch.zeros_like(tone)[None], (0.3 + 0.2 * tone)[None]]
    )
    # In steps of 16 bits, as recordings come: below a purer tone lies nothing but the rounding of its Fourier transform.
    clips = (clips * 2**15).round() / 2**15
    for batch in (clips[:1], clips):
        with torch.no_grad():
            features = encoder(batch, layers=head.layers if head else [-1])
            expected = [features.pooled, head.module(features)] if head else [features.pooled]
        if not all(output.isfinite().all() for output in expected):
            raise OscineError(f"what {metadata(encoder)['model']} makes of noise is not finite; load other weights")
        found = [torch.from_numpy(output) for output in session.run(None, {INPUT: batch.numpy()})]
        pairs = zip(found, expected, strict=True)
        apart = torch.stack([(one - other).abs().max() for one, other in pairs]).max().item()  # NaN stays NaN
        if not apart <= TOLERANCE:
            raise OscineError(
                f"the exported encoder differs from PyTorch by {apart:.1e}, at most {TOLERANCE:g} is right; nothing was "
                f"written: try other versions of torch ({torch.__version__}) and onnxruntime"
            )
