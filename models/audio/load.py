"""Load waveforms from files: mono, float32, at the rate that is asked for. A bad file is an error that names it.

Headers are read without torch, which is imported where a waveform is made.
"""

from __future__ import annotations

import io
import logging
import math
import os
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import soundfile
import soxr

from oscine.models.audio.channels import MIX, Channel, missing_channel, one_channel
from oscine.models.audio.compressed_length import after_tags, measure_compressed
from oscine.models.audio.file_parts import Part
from oscine.models.audio.pcm_length import Extent, measure_pcm, read_at
from oscine.models.audio.sound_file import BLOCK, BUFFER, LAST_PAGE, Opened, OpenRecording, error_of, open_chain
from oscine.models.errors import OscineError
from oscine.models.files import WINDOWS, Stamp, stamp_of, why_too_long

if TYPE_CHECKING:
    from torch import Tensor

# A resampler's filter reaches over fewer than 256 samples of the lower rate to both sides: what a partial read takes along.
REACH = 256
RATES = 100, 10_000_000  # Hz that a recording may have: below is no sound, above is no header
DENSEST = 10_000  # frames of a byte, beyond which no format goes: silence in FLAC has 6,500
READ = {
    b"RIFF": "WAV", b"RIFX": "WAV", b"RF64": "RF64", b"BW64": "RF64", b"riff": "W64", b"FORM": "AIFF", b"caff": "CAF",
    b".snd": "AU", b"dns.": "AU", b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3",
}  # fmt: skip
BEHIND_TAGS = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"FORM", b"caff", b".snd", b"dns.", b"OggS")
UNREAD = [  # where their first bytes stand, those, and what it is
    (4, b"ftyp", "MP4"), (0, b"#!AMR", "AMR"), (0, b"\x30\x26\xb2\x75", "WMA"), (0, b"\x1a\x45\xdf\xa3", "WebM"),
    (0, b"<!DOCTYPE", "a web page"), (0, b"<html", "a web page"), (0, b"PK\3\4", "a ZIP file"), (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
]  # fmt: skip
# How the notes begin of files that can be read: cut short, damaged later on, or other than their header says.
IN_PART = ("truncated: ", "damaged: ", "header: ")
LOUD = 8.0  # beyond what any gain or filter makes of samples in [-1, 1]
HEADERS = 16  # that are waited for at a time: a disk on the network answers late, but many at once

logger = logging.getLogger(__name__)


class AudioError(OscineError):
    """A recording that cannot be used: `path`, and `reason`, which says why and what to do."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(path, reason)  # both, so that the error can be sent between processes
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class AudioInfo(NamedTuple):
    """Length, rate and channels of a recording. `note`: a warning about a file that can be read, such as one cut short."""

    frames: int
    sample_rate: int
    channels: int
    note: str

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


class Decoded(NamedTuple):
    """A stretch of a recording. `truncated`: why it ends before its header says, or "" ."""

    waveform: Tensor  # [samples]
    truncated: str


def load_audio(
    path: str | Path, sample_rate: int, start: float = 0.0, seconds: float | None = None, channel: Channel = MIX
) -> Tensor:
    """Load a recording, or a part of it: mono [samples], float32 in [-1, 1], at `sample_rate` Hz.

    start, seconds: the part; only it is read, and it equals the same slice of the whole. A part that reaches beyond the end
    gives what is there. Of a file that is cut short the readable part is used, with a warning in the log.
    channel: "mix" (the mean of all), "left", "right", or a number from 1.
    AudioError names a file that cannot be read, has no samples, has samples that are no numbers, lacks the channel, or ends
    before `start`.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise OscineError(
            f"the first argument is {str(path)[:80]!r}, expected a path; call load_audio(path, sample_rate)"
        )
    number = one_channel(channel)
    if start < 0 or (seconds is not None and seconds <= 0):
        raise OscineError(
            f"start={start} and seconds={seconds}: a part begins at 0 s or later and lasts longer than 0 s"
        )
    count = None if seconds is None else round(seconds * sample_rate)
    if count == 0:
        raise OscineError(f"{seconds} s are less than a sample at {sample_rate} Hz; ask for more")
    return load(open_recording(path), sample_rate, round(start * sample_rate), count, number)


def load(file: Opened, sample_rate: int, first: int, count: int | None, channel: int = 0) -> Tensor:
    """Decode an open recording and close it; log the note about it, once."""
    with file:
        waveform, truncated = decode(file, sample_rate, first, count, channel)
    if not len(waveform):
        raise AudioError(file.path, truncated)
    if note := file.note or truncated:
        warn_once(file.path, note)
    return waveform


def audio_info(path: str | Path) -> AudioInfo:
    """Read length, rate and channels of a recording, without decoding. AudioError as for `load_audio`."""
    with open_recording(path) as file:
        return _info(file)


def _info(file: Opened) -> AudioInfo:
    return AudioInfo(file.frames, file.samplerate, file.channels, file.note)


def read_headers(paths: Sequence[Path]) -> Iterator[tuple[AudioInfo, Stamp] | AudioError]:
    """Read `audio_info` of recordings, in order, and what tells each file from another; or its error."""
    with ThreadPoolExecutor(HEADERS) as threads:
        yield from threads.map(_read_header, paths)


def _read_header(path: Path) -> tuple[AudioInfo, Stamp] | AudioError:
    try:
        file = _open(path)
        try:
            stamp = stamp_of(file)
        except OSError as error:
            file.close()
            raise AudioError(path, unreadable(error)) from None
        with open_stream(file, path, _name(path)) as recording:
            return _info(recording), stamp
    except AudioError as error:
        return error


def split_clips(waveform: Tensor | np.ndarray, samples: int, hop: int | None = None) -> Tensor:  # [clips, samples]
    """Cut a long waveform [samples] into clips that begin every `hop` samples; silence fills up the last.

    An encoder hears that silence as sound: where it scales a clip by what it holds (Wav2Vec2), or was trained on clips that
    are filled up otherwise (BAT), the last clip gets other features than the bare rest, `encoder([rest])`, which
    `embed_file` and `predict_file` encode.

    hop: a clip's length by default. Clips that overlap share their memory: clone them before changing them in place.
    """
    from torch.nn.functional import pad

    from oscine.models.audio.waveforms import as_tensor

    waveform = as_tensor(waveform, "waveform")
    if waveform.ndim != 1 or not len(waveform):
        raise OscineError(
            f"waveform has shape {tuple(waveform.shape)}, expected [samples]; split one recording at a time"
        )
    hop = samples if hop is None else hop
    if samples < 1 or hop < 1:
        raise OscineError(f"clips of {samples} samples every {hop}: both must be at least 1")
    length = (count_clips(len(waveform), samples, hop) - 1) * hop + samples
    return pad(waveform, (0, max(0, length - len(waveform)))).unfold(0, samples, hop)


def one_clip(waveform: Tensor, samples: int) -> Tensor:  # [samples]
    """Cut one clip from the beginning of a waveform [samples]; silence fills it up where that is shorter."""
    from torch.nn.functional import pad

    return pad(waveform[:samples], (0, max(0, samples - len(waveform))))


def count_clips(total: int, samples: int, hop: int) -> int:
    """Count the clips that `split_clips` makes of `total` samples: as few as cover the recording."""
    return 1 + math.ceil(max(0, total - max(samples, hop)) / hop)


def open_recording(path: str | Path) -> Opened:
    """Open a recording that has at least one sample; otherwise raise an AudioError that says what it is."""
    return open_stream(_open(path), path, _name(path))


def _name(path: str | Path) -> str | bytes:
    """As bytes, since not every name is text; on Windows every name is, and bytes would be read in an old code page."""
    return os.fspath(path) if WINDOWS else os.fsencode(path)


def open_stream(file: BinaryIO, path: str | Path, name: str | bytes | None = None) -> Opened:
    """Open the recording that an open file holds, which is closed with it.

    path: for a person; name: for libsndfile to open. Errors as of `open_recording`.
    """
    try:
        return _opened(file, path, name)
    except (AudioError, OSError) as error:
        cause = error_of(file) or error
        file.close()
        raise cause if isinstance(cause, AudioError) else AudioError(path, unreadable(cause)) from None


def _opened(file: BinaryIO, path: str | Path, name: str | bytes | None) -> Opened:
    size = file.seek(0, io.SEEK_END)
    if not size:
        raise AudioError(path, "is empty (0 bytes); copy it again or leave it out")
    under, begin = file, after_tags(file)
    if begin and read_at(file, begin, 4) in BEHIND_TAGS:
        file, name, size = io.BufferedReader(Part(file, begin, size - begin), BUFFER), None, size - begin
    extent = _measured(file, size)
    given = file if name is None else name
    if extent and not extent.right:
        given = io.BufferedReader(Part(file, extent.begin, extent.length, extent.header), BUFFER)
    head = read_at(file, 0, 64)
    file.seek(0)  # libsndfile begins where it stands
    try:
        recording: Opened
        if extent and extent.pieces:
            recording = open_chain(file, path, extent.pieces, size, under)
        else:
            recording = OpenRecording(given, path, under)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a suffix such as .raw, which holds no header to go by
        raise AudioError(path, _why_unread(head, size)) from None
    try:
        recording.note = "; ".join(filter(None, (recording.note, _check(recording, extent, size))))
    except AudioError:
        recording.close()
        raise
    if given == name and isinstance(recording, OpenRecording):
        file.close()
    return recording


def _measured(file: BinaryIO, size: int) -> Extent | None:
    """Measure the sound in a file, once while it stays the same: an MP3 that does not say its length is read whole."""
    try:
        status = os.fstat(file.fileno())
    except OSError:  # in memory, or a part of another file
        return measure_pcm(file, size) or measure_compressed(file, size)
    known = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    with suppress(KeyError):  # in one step: another thread may clear them at any time
        return _EXTENTS[known]
    extent = measure_pcm(file, size) or measure_compressed(file, size)
    if len(_EXTENTS) >= REMEMBERED:
        _EXTENTS.clear()
    _EXTENTS[known] = extent
    return extent


_EXTENTS: dict[tuple[int, int, int, int], Extent | None] = {}  # by device, inode, size and time
REMEMBERED = 10_000


def _open(path: str | Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise AudioError(path, why_too_long(path) or "there is no such file; check the path") from None
    except (IsADirectoryError, PermissionError):  # Windows says the second of a folder, too
        reason = "may not be read; give yourself permission to read it"
        if os.path.isdir(path):
            reason = "is a folder, expected a recording; find_recordings lists those in a folder"
        raise AudioError(path, reason) from None
    except OSError as error:
        raise AudioError(path, unreadable(error)) from None


def unreadable(error: Exception) -> str:
    """Return the reason for an error of the disk, or of a compressed file."""
    if isinstance(error, OSError):
        return f"could not be opened ({error.strerror or error}); check the disk or the connection to it"
    return f"cannot be inflated ({error}); download its tar file again"


def _check(recording: Opened, extent: Extent | None, size: int) -> str:
    """Refuse a recording without samples, or with impossible numbers; return a note about it."""
    path, frames, rate = recording.path, recording.frames, recording.samplerate
    if not frames:
        only = "holds zeros alone, behind a header that does not say how long it is" if extent and extent.zeros else ""
        raise AudioError(path, f"{only or 'holds no samples'}; leave it out")
    if not RATES[0] <= rate <= RATES[1]:
        reason = f"has {rate:,} samples a second by its header, expected {RATES[0]} to {RATES[1]:,}; correct its header"
        raise AudioError(path, reason)
    if not 0 < frames <= size * DENSEST:
        raise AudioError(path, "has a header that does not say how long it is; convert it once more")
    if not extent or extent.note:
        return extent.note if extent else ""
    return _differences(extent, frames / rate)


def _differences(extent: Extent, held: float) -> str:
    """Describe how a header differs from the file, which holds that many seconds; "" where it does not."""
    second = max(1, extent.held) / held  # bytes, samples or frames of one
    stated = held if extent.stated is None or extent.right else extent.stated / second
    holds, says, zeros = f"{held:.3f} s", f"{stated:.3f} s", f"{extent.zeros / second:.3f} s"
    if stated > held and holds != says and not extent.whole:
        return f"truncated: holds {holds} of the {says} that its header promises; copy it again for the rest"
    rest = f", and then {zeros} of zeros, which are left out" if extent.zeros else ""
    if holds != says:
        return f"header: says {says}, but the file holds {holds}, which are used{rest}; correct the header"
    return f"header: holds {holds}{rest}; cut them off" if rest else ""


def _why_unread(head: bytes, size: int) -> str:
    """Tell why libsndfile cannot read a file, from its first bytes."""
    advice = "convert it to WAV or FLAC, or leave it out"
    kind = next((kind for magic, kind in READ.items() if head.startswith(magic)), "")
    form = head.find(b"fmt ")
    if kind and size < 64:
        kind, advice = f"{kind}, but its header is unfinished", "copy it again or leave it out"
    elif kind == "WAV" and 0 <= form <= 48:
        order = ">" if head.startswith(b"RIFX") else "<"
        codec, channels, rate = struct.unpack_from(f"{order}HHI", head, form + 8)
        kind = f"WAV of codec 0x{codec:04x}, {channels} channels, {rate:,} Hz"
    elif not kind:
        kind = next((kind for place, magic, kind in UNREAD if head[place:].startswith(magic)), "")
    return f"is no audio that can be read here{f' ({kind})' if kind else ''}; {advice}"


def decode(file: Opened, sample_rate: int, first: int = 0, count: int | None = None, channel: int = 0) -> Decoded:
    """Decode samples `first` to `first + count` of a recording, counted at `sample_rate`; None is all that follow.

    channel: its number from 1; 0 is the mean of all.

    A waveform that ends early, or is empty, is one whose frames could not be decoded; `truncated` says so.
    """
    from torch import from_numpy

    source, frames = file.samplerate, file.frames
    total = math.ceil(frames * sample_rate / source)
    if missing := missing_channel(channel, file.channels):
        raise AudioError(file.path, missing)
    if first >= total:
        raise AudioError(
            file.path,
            f"lasts {frames / source:.3f} s and cannot be read from {first / sample_rate:.3f} s; start earlier",
        )
    last = total if count is None else min(total, first + count)
    # A read begins where a frame and a sample fall together: every `step` frames.
    step = source // math.gcd(source, sample_rate)
    reach = 0 if source == sample_rate else math.ceil(REACH * source / min(source, sample_rate))
    low = _entry(file, max(0, first * source // sample_rate - reach)) // step * step
    high = min(frames, math.ceil(last * source / sample_rate) + reach)
    mono = _read_mono(file, low, high, channel)
    if file.error:
        raise AudioError(file.path, unreadable(file.error))
    if not np.isfinite(mono).all():
        raise AudioError(file.path, "has samples that are infinite or not a number; export it again or leave it out")
    if len(mono) and np.abs(mono).max() > LOUD:
        warn_once(file.path, f"has samples beyond {LOUD:g}, expected [-1, 1]; divide by 32768 if they were int16")
    truncated = ""
    if not len(mono):
        truncated = f"damaged: cannot be decoded from {low / source:.3f} s on; copy it again for the rest"
        if not low:
            truncated = "cannot be decoded, so it is damaged; copy it again"
    elif len(mono) < high - low:
        ends = (low + len(mono)) / source
        truncated = f"damaged: can be decoded up to {ends:.3f} s of {frames / source:.3f} s; copy it again for the rest"
    if source != sample_rate and len(mono):
        mono = soxr.resample(mono, source, sample_rate, quality="HQ")
    offset = first - low * sample_rate // source
    return Decoded(from_numpy(mono[offset : offset + last - first].copy()), truncated)


def _entry(file: Opened, frame: int) -> int:
    """Find where decoding must begin for `frame` and what follows to be as in the whole file."""
    if file.format == "MP3":
        # A frame of 1152 may borrow bits from those before it: up to 511 bytes, which small frames take many to hold.
        return max(0, frame - 32 * 1152)
    if file.format == "OGG":
        return max(0, min(frame, file.frames - LAST_PAGE))
    return frame


def _read_mono(file: Opened, low: int, high: int, channel: int) -> np.ndarray:
    """Read frames `low` to `high` of one channel, or of all averaged, float32 [frames]; fewer where decoding fails."""
    parts = [np.empty(0, np.float32)]
    try:
        file.go_to(low)
    except soundfile.LibsndfileError:
        return parts[0]
    for first in range(low, high, BLOCK):  # what is not there takes no memory, however long the file says that it is
        # A decoder that fails keeps what it wrote before, but does not say how much that was: the NaN that are left do.
        frames = np.full((min(BLOCK, high - first), file.channels), np.nan, dtype=np.float32)
        try:
            read = len(file.read(out=frames))
        except soundfile.LibsndfileError:
            blank = np.isnan(frames[:, -1])
            read = int(blank.argmax()) if blank.any() else len(frames)
        parts.append(frames[:read, channel - 1].copy() if channel else frames[:read].mean(axis=1, dtype=np.float32))
        if read < len(frames):
            break
    return np.concatenate(parts)


@cache
def warn_once(path: str | Path, reason: str) -> None:
    """Warn of a file, once a process, however often it is read."""
    logger.warning("%s: %s", path, reason)
