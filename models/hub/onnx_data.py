"""Find the data that an ONNX file keeps in files beside it, and take it in. Nothing else is read from the disk."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

from oscine.models.encoders.base.onnx_file import location_of, parse, tensors_outside
from oscine.models.errors import OscineError
from oscine.models.files import file_hash
from oscine.models.hub.encoder_files import ONNX, no_weights
from oscine.models.json_text import one_line, shown

LARGEST = 2**31 - 1  # bytes of a protobuf message


class Stretch(NamedTuple):
    """Where in which file the numbers of a tensor lie."""

    file: Path
    start: int
    length: int


def source_hash(path: Path, own: str) -> str:
    """Hash a file of weights, with the data that an ONNX file keeps beside it. own: the sha256 of the file alone.

    That is what is returned; with data, that of what `sha256sum FILE DATA ...` prints, the data by its name.
    """
    data = data_beside(path)
    if not data:
        return own
    files = [(path.name, own), *((name, file_hash(existing(path, file))) for name, file in sorted(data.items()))]
    listed = "".join(f"{found}  {name}\n" for name, found in files)
    return sha256(listed.encode()).hexdigest()


def joined_hash(path: Path) -> str:
    """Return the hash of all that an ONNX file holds, the data beside it taken in: `joined_sha256` of its encoder."""
    return sha256(joined(read_file(path), path)).hexdigest()


def data_beside(path: Path) -> dict[str, Path]:
    """Return the files beside an ONNX file that it keeps data in, by their names, whether they are there or not."""
    model = parse(read_file(path), path) if path.suffix == ONNX else None
    return {} if model is None else files_of(path, tensors_outside(model))


def files_of(path: Path, tensors: Iterable[Any]) -> dict[str, Path]:
    names = {location_of(tensor).get("location", "") for tensor in tensors}
    return {
        name: file_beside(path, name, "names data in", "take a file whose data lies in its own folder")
        for name in names
    }


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise no_weights(path) from None
    except OSError as error:
        raise OscineError(f"{path} cannot be read ({error.strerror or error}); expected an ONNX file") from None


def joined(content: bytes, path: Path) -> bytes:
    """Return the bytes of an ONNX file, with the data that lies in files beside it taken in."""
    if (model := parse(content, path)) is None:
        return content
    outside = list(tensors_outside(model))
    files = {name: existing(path, file) for name, file in files_of(path, outside).items()}
    stretches = [stretch_of(tensor, files[location_of(tensor).get("location", "")]) for tensor in outside]
    # Before any is read: a small file may name the same numbers for many tensors.
    if (size := len(content) + sum(stretch.length for stretch in stretches)) > LARGEST:
        raise OscineError(f"{path} has {size / 2**30:.1f} GiB with the data beside it, one ONNX file holds less than 2")
    for tensor, stretch in zip(outside, stretches, strict=True):
        take_in(tensor, stretch)
    from google.protobuf.message import EncodeError

    try:
        return model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise OscineError(
            f"{path} cannot be joined with the data beside it ({one_line(error)}); export it again"
        ) from None


def class_list(path: Path, name: str) -> Path:
    """Return the file beside an ONNX file in which a setting says that the names of its classes stand."""
    return file_beside(path, name, "was given class_file", "put the list beside it and give its name")


def check_class_list(path: Path, name: str) -> None:
    """Raise where the list of classes that somebody names does not lie beside an ONNX file."""
    if not class_list(path, name).is_file():
        raise OscineError(f"no class_file {shown(name)} beside {path}; put the list there, or leave class_file out")


def existing(path: Path, file: Path) -> Path:
    """Return a file beside an ONNX file that it keeps data in, if it is there."""
    if not file.is_file():
        raise OscineError(f"{path} keeps its weights in {file.name}, which is not beside it; put it there")
    return file


def file_beside(path: Path, name: str, has: str, would_do: str) -> Path:
    """Return the file of that name beside an ONNX file; a path to anywhere else is refused.

    has: what an ONNX file has to do with that name, and would_do: a remedy, for the error.
    """
    file = path.parent / name
    folders = {path.parent.resolve(), path.resolve().parent}  # in the Hub's cache both are links
    named = name == Path(name).name == PureWindowsPath(name).name
    if not named or file.resolve().parent not in folders:
        raise OscineError(
            f"{path} {has} {shown(name)}, which is not beside it; nothing else is read from the disk: {would_do}"
        )
    return file


def stretch_of(tensor: Any, file: Path) -> Stretch:
    """Return where in a file the numbers of a tensor lie; raise where they would end after the file does."""
    where, size = location_of(tensor), file.stat().st_size
    try:
        start = int(where.get("offset", 0))
        length = int(where.get("length", size - start))
    except ValueError as error:
        raise OscineError(f"{file} cannot be read for {tensor.name[:60]!r} ({error}); fetch it again") from None
    if not 0 <= start <= start + length <= size:
        raise OscineError(f"{file} ends before the numbers of {tensor.name[:60]!r}; fetch it again")
    return Stretch(file, start, length)


def take_in(tensor: Any, stretch: Stretch) -> None:
    """Put the numbers of a tensor into it that lie in a file."""
    try:
        with stretch.file.open("rb") as data:
            data.seek(stretch.start)
            tensor.raw_data = data.read(stretch.length)
    except OSError as error:
        raise OscineError(f"{stretch.file} cannot be read for {tensor.name[:60]!r} ({error}); fetch it again") from None
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
