"""`oscine convert NAME OUT`: turn an official checkpoint, or an ONNX file, into a folder in oscine's layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oscine.cli.console.command import say_loading
from oscine.models.errors import Misuse
from oscine.models.hub.model_name import LOCAL, ONNX_FILE, ModelName
from oscine.models.text.words import counted

if TYPE_CHECKING:
    from oscine.models.encoders.onnx_encoder import ONNXEncoder


def convert(
    name: str,
    out: Path,
    /,
    checkpoint: Path | None = None,
    prefix: str = "",
    rate: int | None = None,
    seconds: float | None = None,
    embedding: str | None = None,
    patch_map: str | None = None,
    scores: str | None = None,
    activation: str | None = None,
    classes: Path | None = None,
    class_column: str | None = None,
) -> None:
    """Turn an official checkpoint, or any ONNX file, into a folder that every command takes as local-dir:OUT.

    Names and tensors become oscine's, strictly; nothing that the file names is run. Beside model.safetensors and config.json
    lies source.json: the file, its hash, and the licence that its authors state, which publishing carries along.

    An ONNX file, onnx-file:FILE.onnx, takes a waveform [clip, samples]. The options from --rate on tell what it does not say
    of itself; outputs go by name, or by place from 0. Other settings of ONNXEncoder need Python. Which outputs were taken
    is printed. Needs pip install "oscine[onnx]".

    Args:
        name: as oscine models lists it, such as bird_mae_base.xcl or beats_base.as2m; or onnx-file:FILE.onnx.
        out: the folder to write; new or empty.
        checkpoint: the authors' file; without, it is fetched from their repository on the Hub.
        prefix: with which the names of the encoder's tensors begin in a file that holds more, such as "teacher.".
        rate: of an ONNX file's waveform, in Hz.
        seconds: length of a clip that an ONNX file takes.
        embedding: the output that is the vector of a clip; the first by default.
        patch_map: the output [clip, time, freq, dim] that has the patches.
        scores: the output with a number a class, which makes it a classifier for oscine predict.
        activation: what makes probabilities of scores: sigmoid, softmax or none; sigmoid by default.
        classes: names of the classes in the order of the scores, a text with one a line or a table; beside the ONNX file.
        class_column: the column of such a table.
    """
    from oscine.models.publish.convert import check_conversion, convert_checkpoint

    given: dict[str, Any] = {
        "sample_rate": rate, "seconds": seconds, "embedding": embedding, "patch_map": patch_map, "scores": scores,
        "activation": activation, "class_file": classes, "class_column": class_column,
    }  # fmt: skip
    settings = {setting: value for setting, value in given.items() if value is not None}
    if ModelName.parse(name).is_onnx_file:
        convert_onnx(name, out, settings, checkpoint, prefix)
        return
    if settings:
        raise Misuse(
            f"--rate and what follows it go with {ONNX_FILE}FILE.onnx; {name} brings its settings, leave them out"
        )
    source = check_conversion(name, out, checkpoint, prefix)
    say_loading("convert", source.name)
    folder = convert_checkpoint(name, out, checkpoint, prefix=prefix)
    print(f"{folder}: {source.name}, licence {source.licence}; create_model('{LOCAL}{folder}') loads it")


def convert_onnx(name: str, out: Path, settings: dict[str, Any], checkpoint: Path | None, prefix: str) -> None:
    """Convert an ONNX file, and say what was taken of it."""
    from oscine.models.publish.convert import check_onnx_file, convert_onnx_file

    if checkpoint or prefix:
        raise Misuse(f"{name} is a file, taken whole; leave --checkpoint and --prefix out")
    path = ModelName.parse(name).path
    check_onnx_file(path, out, settings)
    say_loading("convert", name)
    encoder = convert_onnx_file(path, out, settings)
    licence = encoder.origin.licence if encoder.origin else "not known"
    print(f"{out}: {describe(encoder)}; licence {licence}")
    of_classes = f", oscine predict RECORDINGS --probe {out}" if encoder.classes else ""
    print(f"use it: oscine embed RECORDINGS --model {LOCAL}{out}{of_classes}, create_model('{LOCAL}{out}')")


def describe(encoder: ONNXEncoder) -> str:
    """Say which outputs of a file were taken, and which were not."""
    taken, every = encoder.outputs()
    time, freq = encoder.grid
    sizes = {
        "embedding": f"{encoder.dim} numbers",
        "patch_map": f"{time} steps of time, {freq} of frequency",
        "scores": counted(len(encoder.classes), "class", "classes") if encoder.classes else "classes without names",
    }
    said = [f"{what} {output!r} ({sizes[what]})" for what, output in taken.items()]
    left = ", ".join(output for output in every if output not in taken.values())
    return f"outputs taken: {', '.join(said)}; not taken: {left or 'none'}"
