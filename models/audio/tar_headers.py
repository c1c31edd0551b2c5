"""What lies in a tar file, from its headers, read block by block: bounded, whatever they say.

Python's tarfile ends in silence at a header that is damaged, and holds extended headers and maps of sparse files whole.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from oscine.models.audio.sparse_tar import MAP, PAIR, PREFIX, Map, Runs, read_old_map, read_pax_map

BLOCK = tarfile.BLOCKSIZE
LONGEST = 2**20  # bytes of an extended header: names and times are a few hundred
EXTENDED = {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME}
IGNORED = {tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK}  # what they say is of no use here
FILES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
SPARSE = "is stored without its zeros (a sparse file), in a way that is not read; pack its tar again without --sparse"


class TarError(Exception):
    """Why a tar file cannot be read on."""


class Entry(NamedTuple):
    """A file in a tar: `size` bytes from `offset`, and where the next header is.

    length: of the file; where it is a sparse one, `runs` say which of its bytes are those, the others are zeros.
    trouble: why it cannot be read, or "".
    """

    name: str
    offset: int
    size: int
    end: int
    length: int
    runs: Runs = ()
    trouble: str = ""


def read_entries(content: BinaryIO) -> Iterator[Entry]:
    """Every file of a tar that begins here. After each the caller goes on to its end, by reading or seeking."""
    place, extended = 0, dict[str, str]()
    while block := content.read(BLOCK):
        place += len(block)
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if len(block) == BLOCK and not any(block):  # the archive's end
                return
            if len(block) < BLOCK:
                raise EOFError("ends too early") from None
            raise TarError(f"{error}, at byte {place - BLOCK:,}") from None
        if header.size < 0:
            raise TarError(f"negative size, at byte {place - BLOCK:,}")
        if header.type in EXTENDED | IGNORED:
            data, place = _read(content, header, place)
            extended |= _names(header.type, data)
            continue
        size = _number(extended.get("size"), header.size)
        is_file, end = header.type in FILES | {tarfile.GNUTYPE_SPARSE}, place + size + -size % BLOCK
        sparse: Map | None = None
        if header.type == tarfile.GNUTYPE_SPARSE:
            sparse = read_old_map(content, block)
            end += sparse.taken
        elif is_file and any(key.startswith(PREFIX) for key in extended):
            sparse = read_pax_map(content, extended, size)
            size = max(0, size - sparse.taken)  # a map takes whole blocks
        elif not is_file and header.type in tarfile.SUPPORTED_TYPES:
            size, end = 0, place  # links and folders have no content
        place += sparse.taken if sparse else 0
        name = extended.get(f"{PREFIX}name") or extended.get("path") or header.name
        # A name's bytes that are no UTF-8 become "\\xe4": Parquet could not hold them.
        entry = Entry(os.fsencode(name).decode(errors="backslashreplace"), place, size, end, size)
        if sparse and not sparse.fits(size):
            entry = entry._replace(trouble=SPARSE)
        elif sparse:
            entry = entry._replace(length=sparse.size, runs=sparse.runs or ((sparse.size, 0),))
        if is_file and not header.name.endswith("/"):
            yield entry
        elif size:
            _skip(content, end - place)
        place, extended = end, {}


def _read(content: BinaryIO, header: tarfile.TarInfo, place: int) -> tuple[bytes, int]:
    """The content of a header that extends the next one, and where it ends."""
    if header.size > LONGEST:
        raise TarError(f"a header of {header.size:,} bytes, at byte {place - BLOCK:,}")
    length = header.size + -header.size % BLOCK
    data = content.read(length)
    if len(data) < length:
        raise EOFError("ends too early")
    return data[: header.size], place + length


def _names(kind: bytes, data: bytes) -> dict[str, str]:
    """What an extended header says, by its key; in a PAX header a row is "LENGTH KEY=VALUE\\n"."""
    if kind in IGNORED:
        return {}
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.rstrip(b"\0").decode(errors="surrogateescape")}
    said: dict[str, str] = {}
    runs: list[str] = []  # of a sparse file, which may come as a row a number
    begin, end = 0, len(data.rstrip(b"\0"))
    while begin < end:
        digits = data[begin : begin + 8].partition(b" ")[0]
        length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
        key, equals, value = data[begin + len(digits) + 1 : begin + length - 1].partition(b"=")
        if not (equals and len(digits) < length <= len(data) - begin):
            raise TarError("an extended header that is none")
        name, text = key.decode(errors="replace"), value.decode(errors="surrogateescape")
        if name in PAIR:
            runs.append(text)
        said[name] = text
        begin += length
    return said | {MAP: ",".join(runs)} if runs else said


def _number(text: str | None, otherwise: int) -> int:
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise TarError(f"a size of {text[:40]!r}")
    return int(text)


def _skip(content: BinaryIO, count: int) -> None:
    while count > 0 and (block := content.read(min(count, 2**20))):
        count -= len(block)
    if count:
        raise EOFError("ends too early")
