"""Read ONNX files as weights: joined with the data beside them, with what they say of themselves and their classes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from oscine.models.encoders.onnx_encoder import TYPES, open_alone, pick, run
from oscine.models.errors import OscineError
from oscine.models.hub.layouts import State
from oscine.models.hub.model_name import LOCAL, ONNX_FILE
from oscine.models.hub.onnx_data import class_list, joined, read_file
from oscine.models.json_text import shown
from oscine.models.text.class_names import check_class_names, read_class_list

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
    own = read_file(path)
    digest = sha256(own).hexdigest()
    check_hash(digest, settings.get("sha256"), path, "sha256")
    content = joined(own, path)
    made = digest if content is own else sha256(content).hexdigest()
    check_hash(made, settings.get("joined_sha256"), path, "joined_sha256")
    found, names, shapes = stated_by(content, path, settings)
    if class_file := found.get("class_file"):
        beside = class_list(path, class_file)
        names = read_class_list(beside, found.get("class_column", "")) if beside.is_file() else []
        check_listed(names, shapes.get("scores"), beside)
    else:
        check_listed(names, shapes.get("scores"), path)
    listed = "\n".join(names).encode()
    of_bytes = {
        "sha256": digest, "joined_sha256": made, "file_bytes": len(content), "class_bytes": len(listed),
    }  # fmt: skip
    return Content(
        found | sizes_of(shapes, path) | of_bytes, {"file": as_bytes(content), "class_names": as_bytes(listed)}
    )


def stated_by(
    content: bytes, path: Path, settings: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str], dict[str, tuple[int, ...]]]:
    """Return the settings, with what a file says of itself; the names of classes in it; the shapes of its outputs."""
    session = open_alone(content, "cpu", path)
    stated, names = stated_in(session.get_modelmeta().custom_metadata_map)
    found = stated | dict(settings)
    if missing := sorted({"sample_rate", "seconds"} - found.keys()):
        raise OscineError(
            f"{path} does not say what it takes; give {' and '.join(missing)}: oscine convert {ONNX_FILE}{path} FOLDER "
            f"--rate 32000 --seconds 5 makes a folder, which every command takes as {LOCAL}FOLDER; in Python "
            f"create_model('{ONNX_FILE}{path.name}', sample_rate=32000, seconds=5.0)"
        )
    return found, names, shapes_of(session, path, found)


def check_hash(found: str, expected: str | None, path: Path, setting: str) -> None:
    """Raise where a file has not the hash that a setting gives."""
    if expected and found != expected:
        raise OscineError(f"{path} has {setting} {found}, expected {expected}; fetch it again, or leave {setting} out")


def as_bytes(content: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(content, np.uint8).copy())


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


def check_listed(names: Sequence[str], scores: tuple[int, ...] | None, source: Path) -> None:
    """Raise where names are not one a score, or none of classes."""
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
    check_class_names(names, source, "give class_column")
    if broken := next((name for name in names if "\n" in name), None):
        raise OscineError(f"{source} has the name {shown(broken)}, which is of several lines; expected names of one")
