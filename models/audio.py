"""From files to waveforms: mono, float32, at the rate that is asked for. A bad file is an error that names it.

Headers are read without torch, which is imported where a waveform is made.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import soundfile
import soxr

from oscine.models.channels import MIX, Channel, missing_channel, one_channel
from oscine.models.errors import OscineError
from oscine.models.paths import WINDOWS, why_too_long

if TYPE_CHECKING:
    from torch import Tensor

# A resampler's filter reaches over fewer than 256 samples of the lower rate to both sides: what a partial read takes along.
REACH = 256
UNKNOWN = 2**63 - 1  # frames of a FLAC that was written to a pipe: its header could not be completed
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
    """What a recording's header says. `truncated`: why the file must have been cut short, or "" ."""

    frames: int
    sample_rate: int
    channels: int
    truncated: str

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
    """A recording, or a part of it, as a mono waveform [samples], float32 in [-1, 1], at `sample_rate` Hz.

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
    with open_recording(path) as file:
        waveform, truncated = decode(file, sample_rate, round(start * sample_rate), count, number)
        truncated = truncated or cut_short(path, file.format)
    if not len(waveform):
        raise AudioError(path, truncated)
    if truncated:
        _warn_once(path, truncated)
    return waveform


def audio_info(path: str | Path) -> AudioInfo:
    """Length, rate and channels from a recording's header; nothing is decoded. AudioError as for `load_audio`."""
    with open_recording(path) as file:
        return AudioInfo(file.frames, file.samplerate, file.channels, cut_short(path, file.format))


def read_headers(paths: Sequence[Path]) -> Iterator[AudioInfo | AudioError]:
    """`audio_info` of every recording, in order; what cannot be read is its error instead."""
    with ThreadPoolExecutor(HEADERS) as threads:
        yield from threads.map(_info_or_error, paths)


def _info_or_error(path: Path) -> AudioInfo | AudioError:
    try:
        return audio_info(path)
    except AudioError as error:
        return error


def split_clips(waveform: Tensor | np.ndarray, samples: int, hop: int | None = None) -> Tensor:  # [clips, samples]
    """A long waveform [samples] as a batch of clips that begin every `hop` samples; the last is filled up with silence.

    hop: a clip's length by default. Clips that overlap share their memory: clone them before changing them in place.
    """
    from torch.nn.functional import pad

    from oscine.models.waveforms import as_tensor

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
    """The beginning of a waveform as one clip, filled up with silence where it is shorter."""
    from torch.nn.functional import pad

    return pad(waveform[:samples], (0, max(0, samples - len(waveform))))


def count_clips(total: int, samples: int, hop: int) -> int:
    """How many clips `split_clips` makes of `total` samples: as few as cover the recording."""
    return 1 + math.ceil(max(0, total - max(samples, hop)) / hop)


def open_recording(path: str | Path) -> soundfile.SoundFile:
    """A recording, open for reading, that promises at least one sample; otherwise an AudioError that says what it is."""
    try:
        # soundfile says "System error" of all of these, and of some broken MP3 files that they do not exist.
        with open(path, "rb") as file:
            size = file.seek(0, 2)
    except FileNotFoundError:
        raise AudioError(path, why_too_long(path) or "there is no such file; check the path") from None
    except (IsADirectoryError, PermissionError):  # Windows says the second of a folder, too
        reason = "may not be read; give yourself permission to read it"
        if os.path.isdir(path):
            reason = "is a folder, expected a recording; find_recordings lists those in a folder"
        raise AudioError(path, reason) from None
    except OSError as error:
        raise AudioError(
            path, f"could not be opened ({error.strerror}); check the disk or the connection to it"
        ) from None
    if not size:
        raise AudioError(path, "is empty (0 bytes); copy it again or leave it out")
    try:
        # As bytes, since not every name is text; on Windows every name is, and bytes would be read in an old code page.
        name = os.fspath(path) if WINDOWS else os.fsencode(path)
        recording = soundfile.SoundFile(name)  # pyright: ignore[reportArgumentType]
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a suffix such as .raw, which holds no header to go by
        raise AudioError(
            path, "is no audio that can be read here; convert it to WAV or FLAC, or leave it out"
        ) from None
    if recording.frames in (0, UNKNOWN):
        recording.close()
        complaint = (
            "does not say how long it is; convert it once more"
            if recording.frames
            else "holds no samples; leave it out"
        )
        raise AudioError(path, complaint)
    return recording


def decode(
    file: soundfile.SoundFile, sample_rate: int, first: int = 0, count: int | None = None, channel: int = 0
) -> Decoded:
    """Samples `first` to `first + count` of an open recording as they are at `sample_rate`; None is all that follow.

    channel: its number from 1; 0 is the mean of all.

    A waveform that ends early, or is empty, is one whose frames could not be decoded; `truncated` says so.
    """
    from torch import from_numpy

    name, source, frames = os.fsdecode(file.name), file.samplerate, file.frames
    total = math.ceil(frames * sample_rate / source)
    if missing := missing_channel(channel, file.channels):
        raise AudioError(name, missing)
    if first >= total:
        raise AudioError(
            name,
            f"lasts {frames / source:.3f} s and cannot be read from {first / sample_rate:.3f} s; start earlier",
        )
    last = total if count is None else min(total, first + count)
    # A read begins where a frame and a sample fall together: every `step` frames.
    step = source // math.gcd(source, sample_rate)
    reach = 0 if source == sample_rate else math.ceil(REACH * source / min(source, sample_rate))
    low = _entry(file, max(0, first * source // sample_rate - reach)) // step * step
    high = min(frames, math.ceil(last * source / sample_rate) + reach)
    mono = _read_mono(file, low, high, channel)
    if not np.isfinite(mono).all():
        raise AudioError(name, "has samples that are infinite or not a number; export it again or leave it out")
    truncated = ""
    if not len(mono):
        truncated = f"truncated: cannot be decoded at {low / source:.3f} s; copy it again or leave it out"
    elif len(mono) < high - low:
        ends = (low + len(mono)) / source
        truncated = (
            f"truncated: can be decoded up to {ends:.3f} s of {frames / source:.3f} s; copy it again for the rest"
        )
    if source != sample_rate and len(mono):
        mono = soxr.resample(mono, source, sample_rate, quality="HQ")
    offset = first - low * sample_rate // source
    return Decoded(from_numpy(mono[offset : offset + last - first].copy()), truncated)


def _entry(file: soundfile.SoundFile, frame: int) -> int:
    """Where decoding must begin for `frame` and what follows to be as in the whole file."""
    if file.format == "MP3":
        # A frame of 1152 may borrow bits from those before it: up to 511 bytes, which small frames take many to hold.
        return max(0, frame - 32 * 1152)
    if file.format == "OGG":
        # libsndfile misses its mark within the last page, by as much as the end of the stream cuts off that page. A page
        # holds up to 255 packets, which bring up to 1024 frames each with the usual encoders.
        return max(0, min(frame, file.frames - 255 * 1024))
    return frame


def _read_mono(file: soundfile.SoundFile, low: int, high: int, channel: int) -> np.ndarray:
    """Frames `low` to `high` of one channel, or of all averaged, float32 [frames]; fewer where decoding fails."""
    # A decoder that fails keeps what it wrote before, but does not say how much that was: the NaN that are left do.
    frames = np.full((high - low, file.channels), np.nan, dtype=np.float32)
    try:
        file.seek(low)
        read = len(file.read(out=frames))
    except soundfile.LibsndfileError:
        blank = np.isnan(frames[:, -1])
        read = int(blank.argmax()) if blank.any() else len(frames)
    return frames[:read, channel - 1].copy() if channel else frames[:read].mean(axis=1, dtype=np.float32)


def cut_short(path: str | Path, container: str) -> str:
    """Why a file must have been cut short, from its first or last bytes, or "". container: soundfile's name of the format.

    Decoders pass over this in silence where the length stands nowhere (Ogg) or is taken from the file's size (WAV, AIFF).
    """
    with open(path, "rb") as file:
        if container == "OGG":
            file.seek(-min(os.fstat(file.fileno()).st_size, 2**16), 2)  # a page has at most 65,307 bytes
            whole = _ends_in_last_page(file.read())
            return "" if whole else "truncated: its last Ogg page is missing; copy it again for the rest"
        promised = _promised_bytes(file.read(28))
        size = file.seek(0, 2)
    # Some writers leave out the last padding byte, some count the eight bytes of the header twice.
    if promised <= size or promised - size in (1, 8):
        return ""
    return f"truncated: has {size:,} bytes of {promised:,} that its header promises; copy it again for the rest"


def _promised_bytes(head: bytes) -> int:
    """Bytes that a WAV or AIFF file should have by its header; 0 where it does not say."""
    if head[:4] == b"RF64" and head[12:16] == b"ds64":
        return 8 + int.from_bytes(head[20:28], "little")
    if head[:4] not in (b"RIFF", b"RIFX", b"FORM"):
        return 0
    size = int.from_bytes(head[4:8], "little" if head[:4] == b"RIFF" else "big")
    return 0 if size == 2**32 - 1 else 8 + size  # all ones: the writer could not go back to fill it in


def _ends_in_last_page(tail: bytes) -> bool:
    """Whether the end of an Ogg file is a whole page that is marked as the stream's last (RFC 3533, section 6)."""
    begin = tail.rfind(b"OggS\0")
    page = tail[begin:] if begin >= 0 else b""
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])


@cache
def _warn_once(path: str | Path, reason: str) -> None:
    """One line a file and process, however often the file is read."""
    logger.warning("%s: %s", path, reason)


def one_thread(worker: int) -> None:
    """For the processes that read for a DataLoader: several threads in each of several slow one another down."""
    import torch

    torch.set_num_threads(1)
