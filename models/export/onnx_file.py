"""Check what is in the way of writing an ONNX file, without torch."""

from __future__ import annotations

import re
from pathlib import Path

from oscine.models.encoders.base.onnx_file import check_installed
from oscine.models.errors import OscineError
from oscine.models.replace_outputs import check_ours

SUFFIX = ".onnx"
# A model's first fields: version of the format, producer, its version.
BEGIN = re.compile(rb"\x08.\x12\x06oscine\x1a", re.DOTALL)


def check_ready(path: Path, overwrite: bool) -> None:
    """Raise what is known, before an encoder is there, to be in the way of writing this file."""
    if path.suffix != SUFFIX:
        raise OscineError(f"{path} cannot be written: expected a name that ends in {SUFFIX}")
    if not path.parent.is_dir():
        raise OscineError(f"{path} cannot be written: there is no folder {path.parent}; make it first")
    if path.is_dir() or (path.exists() and not overwrite):
        raise OscineError(f"{path} exists already; choose another name, or replace it (overwrite)")
    check_ours(path, _is_ours)
    check_installed("onnx", "onnxscript", "onnxruntime")


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return BEGIN.match(file.read(32)) is not None
