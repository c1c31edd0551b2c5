"""Read ONNX files as weights: joined with the data beside them, with what they say of themselves and their classes."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from oscine.models.encoders.base.onnx_file import location_of, parse, tensors_outside
from oscine.models.encoders.onnx_encoder import TYPES, open_alone, pick, run
from oscine.models.errors import OscineError
from oscine.models.hub.encoder_files import no_weights
from oscine.models.hub.layouts import State
from oscine.models.json_text import shown

LARGEST = 2**31 - 1  # bytes of a protobuf message
OUTPUTS = ("embedding", "patch_map", "scores")


class Content(NamedTuple):
    """What an ONNX file is as an encoder: the settings of ONNXEncoder, and its buffers."""

    settings: dict[str, Any]
    state: State


def read_onnx(path: str | Path, settings: Mapping[str, Any]) -> Content:
    """Read an ONNX file, and what lies beside it: its data and its class list. settings: of ONNXEncoder, as far as given.

    Sizes are the file's. Rate, length, outputs and classes may stand in its metadata, as in what oscine has exported.
    """
    path = Path(path)
    content = joined(path)
    digest = sha256(content).hexdigest()
    if (expected := settings.get("sha256") or digest) != digest:
        raise OscineError(f"{path} has sha256 {digest}, expected {expected}; fetch it again, or leave sha256 out")
    found, names, shapes = stated_by(content, path, settings)
    if class_file := found.get("class_file"):
        beside = file_beside(path, class_file)
        names = read_class_list(beside, found.get("class_column", "")) if beside.is_file() else []
        check_classes(names, shapes.get("scores"), beside)
    else:
        check_classes(names, shapes.get("scores"), path)
    listed = "\n".join(names).encode()
    made = {"sha256": digest, "file_bytes": len(content), "class_bytes": len(listed)}
    return Content(found | sizes_of(shapes, path) | made, {"file": as_bytes(content), "class_names": as_bytes(listed)})


def stated_by(
    content: bytes, path: Path, settings: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str], dict[str, tuple[int, ...]]]:
    """Return the settings, with what a file says of itself; the names of classes in it; the shapes of its outputs."""
    session = open_alone(content, "cpu", path)
    stated, names = stated_in(session.get_modelmeta().custom_metadata_map)
    found = stated | dict(settings)
    if missing := sorted({"sample_rate", "seconds"} - found.keys()):
        raise OscineError(
            f"{path} does not say what it takes; give {' and '.join(missing)} in Python, as in "
            f"create_model('onnx-file:{path.name}', sample_rate=32000, seconds=5.0), and save_pretrained for the commands"
        )
    return found, names, shapes_of(session, path, found)


def as_bytes(content: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(content, np.uint8).copy())


def joined(path: Path) -> bytes:
    """Return the bytes of an ONNX file, with the data that lies in files beside it taken in."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise no_weights(path) from None
    except OSError as error:
        raise OscineError(f"{path} cannot be read ({error.strerror or error}); expected an ONNX file") from None
    if (model := parse(content, path)) is None:
        return content
    outside = list(tensors_outside(model))
    files = {
        location: data_file(path, location) for location in {location_of(one).get("location", "") for one in outside}
    }
    if (size := len(content) + sum(file.stat().st_size for file in files.values())) > LARGEST:
        raise OscineError(f"{path} has {size / 2**30:.1f} GiB with the data beside it, one ONNX file holds less than 2")
    for tensor in outside:
        take_in(tensor, files[location_of(tensor).get("location", "")])
    return model.SerializeToString(deterministic=True)


def data_file(path: Path, location: str) -> Path:
    """Return the file beside an ONNX file that it keeps data in."""
    file = file_beside(path, location)
    if not file.is_file():
        raise OscineError(f"{path} keeps its weights in {location}, which is not beside it; put it there")
    return file


def file_beside(path: Path, name: str) -> Path:
    """Return the file of that name beside an ONNX file; a path to anywhere else is refused."""
    file = path.parent / name
    folders = {path.parent.resolve(), path.resolve().parent}  # in the Hub's cache both are links
    named = name == Path(name).name == PureWindowsPath(name).name
    if not named or file.resolve().parent not in folders:
        raise OscineError(
            f"{path} names data in {shown(name)}, which is not beside it; nothing else is read from the disk: take a "
            "file whose data lies in its own folder"
        )
    return file


def take_in(tensor: Any, file: Path) -> None:
    """Put the numbers of a tensor into it that lie in a file."""
    where = location_of(tensor)
    try:
        start, length = int(where.get("offset", 0)), int(where.get("length", -1))
        with file.open("rb") as data:
            data.seek(start)
            numbers = data.read(length)
    except (ValueError, OSError) as error:
        raise OscineError(f"{file} cannot be read for {tensor.name[:60]!r} ({error}); fetch it again") from None
    if len(numbers) < length:
        raise OscineError(f"{file} ends before the numbers of {tensor.name[:60]!r}; fetch it again")
    tensor.raw_data = numbers
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")


def stated_in(said: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return settings and class names that a file's metadata states as oscine writes it, and OpenSoundscape reads it."""
    settings: dict[str, Any] = {}
    with suppress(KeyError, ValueError, ZeroDivisionError):
        rate = int(said["sample_rate"])
        seconds = int(said["samples"]) / rate if "samples" in said else float(said["sample_duration"])
        settings |= {"sample_rate": rate, "seconds": seconds}
    outputs = {"embedding": "embedding_outputs_key", "scores": "class_outputs_key", "activation": "activation"}
    settings |= {setting: said[key] for setting, key in outputs.items() if key in said}
    with suppress(KeyError, ValueError):
        names = json.loads(said["classes"])
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return settings, names
    return settings, []


def shapes_of(session: Any, path: Path, settings: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each output that is named, of one clip; where the file does not say it, silence tells."""
    rate, seconds = settings["sample_rate"], settings["seconds"]
    samples, taken = round(seconds * rate), pick(session.get_inputs(), settings.get("input", 0), "input", path)
    if isinstance(taken.shape[1], int) and taken.shape[1] != samples:
        raise OscineError(
            f"{path} takes clips of {taken.shape[1]} samples, {seconds:g} s at {rate} Hz have {samples}; give "
            f"seconds={taken.shape[1] / rate:g}, or another sample_rate"
        )
    named = {name: settings.get(name, 0 if name == "embedding" else None) for name in OUTPUTS}
    picked = {name: pick(session.get_outputs(), one, "output", path) for name, one in named.items() if one is not None}
    if all(isinstance(size, int) for output in picked.values() for size in output.shape[1:]):
        return {name: tuple(output.shape[1:]) for name, output in picked.items()}
    batch = taken.shape[0] if isinstance(taken.shape[0], int) else 1
    silence = np.zeros((batch, samples), TYPES[taken.type])
    found = run(session, [output.name for output in picked.values()], {taken.name: silence})
    return {name: output.shape[1:] for name, output in zip(picked, found, strict=True)}


def sizes_of(shapes: Mapping[str, tuple[int, ...]], path: Path) -> dict[str, Any]:
    """Return the width of the vector and the grid of the map, which has to be [time, freq] of vectors as wide."""
    dim, patches = math.prod(shapes["embedding"]), shapes.get("patch_map")
    if patches is not None and (len(patches) != 3 or patches[2] != dim):
        raise OscineError(
            f"{path}: patch_map is {list(patches)} a clip, expected [time, freq, {dim}], as wide as embedding; name another "
            "output, or None"
        )
    return {"dim": dim, "grid": patches and list(patches[:2])}


def read_class_list(path: Path, column: str) -> list[str]:
    """Read the names of classes, in the order of the scores: the column of a table, or without a column every line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise OscineError(f"{path} cannot be read ({error}); expected names of classes in UTF-8") from None
    if not column:
        return [line.strip() for line in lines if line.strip()]
    for delimiter in ",;\t":
        rows = csv.DictReader(lines, delimiter=delimiter)
        if column in (rows.fieldnames or ()):
            return [(row[column] or "").strip() for row in rows]
    raise OscineError(
        f"{path} has no column {column!r}; it begins with {shown(lines[0] if lines else '')}; give class_column"
    )


def check_classes(names: Sequence[str], scores: tuple[int, ...] | None, source: Path) -> None:
    """Raise where names are not one a score, or not different."""
    if not names:
        return
    if scores is None:
        raise OscineError(
            f"{source} names classes, and no output has their scores; give scores=, its name or its place"
        )
    if len(names) != math.prod(scores):
        raise OscineError(
            f"{source} has {len(names)} names, the file has {math.prod(scores)} scores a clip; give class_column where the "
            "first line is a header"
        )
    name, times = Counter(names).most_common(1)[0]
    if times > 1 or not all(name.strip() for name in names):
        raise OscineError(f"{source} has the name {name!r} {times} times, expected each class once; give class_column")
    if broken := next((name for name in names if "\n" in name), None):
        raise OscineError(f"{source} has the name {shown(broken)}, which is of several lines; expected names of one")
