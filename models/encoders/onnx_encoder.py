"""Define the encoder that onnxruntime computes from a file, for what is published as ONNX alone: Perch 2, BirdNET+ 3."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256 as sha256_of
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.models.encoders.base.onnx_file import parse, provider_of, session_of, tensors_outside
from oscine.models.errors import OscineError
from oscine.models.json_text import one_line
from oscine.models.text.class_names import check_class_names

ACTIVATIONS = ("sigmoid", "softmax", "none")  # what makes probabilities of a file's scores; none: they are such already
TYPES: dict[str, type[np.generic]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
Output = str | int  # by its name, or by its place from 0


class ONNXEncoder(Encoder):
    """One layer, computed by onnxruntime, without gradients: one vector a clip and, where the file has it, a map of patches.

    The file itself lies in the buffer `file`, with the data that may have lain beside it: so it is saved, published and
    known by its hash as weights are. It is opened when it is first used, or was changed, if its hash is that of the config,
    and never with anything else from the disk. `zoo.create_model` makes an encoder of a file, with what that says of itself.

    dim, grid       numbers of a vector; (time, freq) of the map, (1, 1) without one
    input           the name of the waveform [clip, samples], or its place among the inputs
    embedding       the output that is `pooled`, [clip, dim]
    patch_map       the output that is `patches`, [clip, time, freq, dim]; None: the vector stands for the only patch
    scores          the output with a number a class, [clip, classes]; None where the file is no classifier
    activation      what makes probabilities of scale * score + shift: sigmoid, softmax, or none
    peak            each clip minus its mean is brought to this peak, silence stays 0; None leaves the clips as they are
    class_file      where the names of the classes lay beside the file, in the order of the scores
    class_column    the column there that has them; "" where every line is a name
    step_seconds    from one time step of the map to the next; None: as many as there are share the clip
    sha256          of the file as it was published; data beside it is not in it
    joined_sha256   of the buffer `file`: the same, unless data was taken in
    file_bytes, class_bytes     lengths of the buffers `file` and `class_names`
    """

    trainable = False
    exportable = False
    of_a_file = True
    class_token = False
    not_finite = "its file has no numbers for that; where it computes in float16, take the one in float32"
    file: Tensor
    class_names: Tensor

    def __init__(
        self,
        dim: int = 1,
        sample_rate: int = 32_000,
        seconds: float = 5.0,
        grid: list[int] | None = None,
        input: Output = 0,
        embedding: Output = 0,
        patch_map: Output | None = None,
        scores: Output | None = None,
        activation: str = "sigmoid",
        scale: float = 1.0,
        shift: float = 0.0,
        peak: float | None = None,
        class_file: str = "",
        class_column: str = "",
        step_seconds: float | None = None,
        sha256: str = "",
        joined_sha256: str = "",
        file_bytes: int = 0,
        class_bytes: int = 0,
    ) -> None:
        if grid is not None and len(grid) != 2:
            raise OscineError(f"grid is {grid}, expected [time, freq]")
        if activation not in ACTIVATIONS:
            raise OscineError(f"no activation {activation!r}; choose from {', '.join(ACTIVATIONS)}")
        time, freq = grid or (1, 1)
        super().__init__(
            dim=dim,
            depth=1,
            sample_rate=sample_rate,
            seconds=seconds,
            grid=(time, freq),
            step_seconds=seconds / max(time, 1) if step_seconds is None else step_seconds,
        )
        self.input, self.embedding, self.patch_map, self.scores = input, embedding, patch_map, scores
        self.spatial = patch_map is not None
        self.peak, self.joined_sha256 = peak, joined_sha256
        self.register_buffer("file", torch.zeros(file_bytes, dtype=torch.uint8))
        self.register_buffer("class_names", torch.zeros(class_bytes, dtype=torch.uint8))
        self._session: Opened | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the session out: onnxruntime's cannot be copied, nor sent to another process, where it is opened again."""
        return self.__dict__ | {"_session": None}

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the scores; none where no list lay beside the file."""
        try:
            listed = bytes_of(self.class_names).decode()
        except UnicodeDecodeError as error:
            raise OscineError(f"names of classes are no UTF-8 ({error}); make the encoder of its file again") from None
        return listed.split("\n") if listed else []

    def check_device(self, device: str) -> None:
        """Raise where onnxruntime does not compute on a kind of device."""
        provider_of(device)

    def prepare(self, waveform: Tensor) -> Tensor:  # [batch, samples]
        """Fill clips up with silence, then bring them to the file's scale."""
        waveform = super().prepare(waveform)
        if self.peak is None:
            return waveform
        # Twice: of a constant the first mean leaves its own rounding, whose few digits the second one takes off exactly.
        centred = waveform - waveform.mean(1, keepdim=True)
        centred = centred - centred.mean(1, keepdim=True)
        loudest = centred.abs().amax(1, keepdim=True)
        return torch.where(loudest > 0, self.peak * centred / loudest, 0.0)

    def features(self, input: Tensor, layers: Sequence[int] | None = None) -> Features:
        """Compute features of prepared clips [batch, samples]. layers: the one there is."""
        self.layer_numbers(layers)
        if self.patch_map is None:
            vectors = self._compute(input, [self.embedding])[0]
            pooled = shaped(vectors.flatten(1), (self.dim,), self.embedding, "dim")
            return Features.of_patches([pooled[:, None, None]], pooled)
        vectors, patches = self._compute(input, [self.embedding, self.patch_map])
        pooled = shaped(vectors.flatten(1), (self.dim,), self.embedding, "dim")
        return Features.of_patches([shaped(patches, (*self.grid, self.dim), self.patch_map, "grid and dim")], pooled)

    def outputs(self) -> tuple[dict[str, str], list[str]]:
        """Return which outputs of the file are taken, setting to name; and the names of all."""
        there = self._open(str(self.file.device)).get_outputs()
        settings = {"embedding": self.embedding, "patch_map": self.patch_map, "scores": self.scores}
        taken = {name: pick(there, one, "output").name for name, one in settings.items() if one is not None}
        return taken, [one.name for one in there]

    def scoring(self) -> ONNXEncoder:
        """Return an encoder of the same file whose `pooled` is the file's scores, [clip, classes]."""
        self.check_classifier()
        plain = {
            "dim": len(self.classes),
            "grid": None,
            "embedding": self.scores,
            "patch_map": None,
            "step_seconds": None,
        }
        with torch.device("meta"):
            made = type(self)(**self.config | plain)
        made.file, made.class_names = self.file, self.class_names
        made.provenance, made.origin = self.provenance, self.origin
        return made.train(self.training)

    def check_classifier(self) -> None:
        """Raise where the file has no scores, or no list of its classes lay beside it."""
        model = (self.provenance or {}).get("model") or "this ONNX file"
        if self.scores is None:
            raise OscineError(f"{model} is no classifier: its config names no output with scores; give scores=")
        if not self.classes:
            list_file = self.config["class_file"] or "a list of its classes"
            column = f", column {self.config['class_column']}," if self.config["class_column"] else ""
            raise OscineError(
                f"{model} is a classifier without names: {list_file}{column} did not lie beside its file; put both into one "
                "folder, create_model(NAME, checkpoint_path=FILE) and hand it over as the encoder"
            )
        check_class_names(self.classes, model, "make it of its file again")

    def _compute(self, clips: Tensor, wanted: Sequence[Output]) -> list[Tensor]:
        """Run the file on clips [batch, samples], in the pieces that it takes; each output wanted, in float32."""
        session = self._open(str(clips.device))
        taken = pick(session.get_inputs(), self.input, "input")
        names = [pick(session.get_outputs(), one, "output").name for one in wanted]
        size = taken.shape[0] if isinstance(taken.shape[0], int) else max(1, len(clips))
        pieces = []
        for piece in clips.detach().cpu().split(size):
            filled = pad(piece, (0, 0, 0, size - len(piece))).numpy().astype(TYPES[taken.type])
            pieces.append([output[: len(piece)] for output in run(session, names, {taken.name: filled})])
        joined = (np.concatenate(parts).astype(np.float32) for parts in zip(*pieces, strict=True))
        return [torch.from_numpy(output).to(clips.device) for output in joined]

    def _open(self, device: str) -> Any:
        """Return the session of a device, opened unless it is open."""
        if self._session is None or not self._session.is_of(self.file, device):
            content = bytes_of(self.file)
            if not content:
                raise OscineError(
                    "this ONNXEncoder has no file yet; create_model(NAME, pretrained=True), or checkpoint_path=FILE"
                )
            if (digest := sha256_of(content).hexdigest()) != self.joined_sha256:
                raise OscineError(
                    f"the ONNX file has sha256 {digest}, its config says {self.joined_sha256 or 'none'}; fetch or save "
                    "it again"
                )
            self._session = Opened(open_alone(content, device), device, self.file, version_of(self.file))
        return self._session.session


class Opened(NamedTuple):
    """A session of onnxruntime, with the device that it computes on and the buffer that it was opened of."""

    session: Any
    device: str
    file: Tensor
    version: int

    def is_of(self, file: Tensor, device: str) -> bool:
        """Return whether it was opened of a buffer, on a device, and nobody has written into the buffer since."""
        return (self.device, self.version) == (device, version_of(file)) and self.file is file


def version_of(buffer: Tensor) -> int:
    """Count how often a buffer was written into; torch does not count where it was made in inference mode."""
    return 0 if buffer.is_inference() else buffer._version


def bytes_of(buffer: Tensor) -> bytes:
    return buffer.detach().cpu().numpy().tobytes()


def open_alone(content: bytes, device: str, source: object = "the ONNX file") -> Any:
    """Open a session of the bytes of a file; one that would read anything else from the disk is refused."""
    if model := parse(content, source):
        name = next(tensors_outside(model)).name[:60]
        raise OscineError(f"{source} keeps its tensor {name!r} in another file, which is not opened from here")
    try:
        session = session_of(content, torch.get_num_threads(), device)
    except OscineError:
        raise
    except Exception as error:  # onnxruntime's errors have nothing else in common
        raise OscineError(
            f"{source} is no ONNX file that onnxruntime can open ({one_line(error)}); fetch it again, or update onnxruntime"
        ) from error
    for value in session.get_inputs():
        if value.type not in TYPES or len(value.shape) != 2:
            raise OscineError(
                f"{source} takes {value.name!r}, a {value.type} {value.shape}; expected a waveform [clip, samples] of float "
                "or float16 alone"
            )
    return session


def run(session: Any, names: list[str], inputs: dict[str, Any]) -> list[Any]:
    """Run a session; what onnxruntime raises is one line."""
    try:
        return session.run(names, inputs)
    except Exception as error:  # onnxruntime's errors have nothing else in common
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in inputs.items())
        raise OscineError(f"onnxruntime cannot compute the ONNX file on {shapes}: {one_line(error)}") from error


def pick(values: Sequence[Any], wanted: Output, what: str, source: object = "the ONNX file") -> Any:
    """Return the input or output of that name or place; the error says which there are."""
    places: dict[Output, int] = {str(place): place for place in range(len(values))}  # as a command line has them
    places |= {place: place for place in range(len(values))} | {one.name: place for place, one in enumerate(values)}
    place = places.get(wanted, -1)
    if not 0 <= place < len(values):
        there = ", ".join(f"{number}: {one.name}" for number, one in enumerate(values))
        raise OscineError(
            f"{source} has no {what} {wanted!r}; it has {there}; give one of them, by its name or its place"
        )
    return values[place]


def shaped(output: Tensor, expected: tuple[int, ...], name: Output, settings: str) -> Tensor:
    """Return an output if it has the shape that the config says."""
    if output.shape[1:] != expected:
        raise OscineError(
            f"output {name!r} of the ONNX file is {list(output.shape[1:])} a clip, expected {list(expected)} by {settings}; "
            "make the encoder of the file again"
        )
    return output
