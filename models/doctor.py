"""Examine an installation for bug reports: what is there, what is missing, and whether it works; torch may be broken."""

from __future__ import annotations

import locale
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import metadata, requires
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING, NamedTuple

from packaging.requirements import Requirement

import oscine
from oscine.models.audio.workers import cores
from oscine.models.errors import OscineError
from oscine.models.library_versions import installed, load_libraries

if TYPE_CHECKING:
    import numpy as np

LIBRARIES = (
    "torch", "torchaudio", "torchvision", "timm", "lightning", "numpy", "pandas", "pyarrow", "scikit-learn", "soundfile",
    "soxr", "safetensors", "huggingface-hub", "jsonargparse",
)  # fmt: skip
PURPOSES = {
    "label": "oscine label page",
    "onnx": "oscine export, perch_v2, birdnet_v3 and onnx-file:",
    "search": "searches of oscine probe",
}  # of the extras
FORMATS = {"WAV": "PCM_16", "FLAC": "PCM_16", "OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}
RATE, TONE = 32_000, 1000.0  # hertz, of a second of sound that is written, read and resampled
SHARED = 0.99  # correlation from which on two waveforms are the same but for rounding and what MP3 leaves out
SPACE = 5 * 10**9  # bytes below which a disk is nearly full: one large encoder and its features take as much


class Fact(NamedTuple):
    """What was found. `works`: False where something that oscine needs does not."""

    name: str
    text: str
    works: bool = True


def examine() -> Iterator[Fact]:
    """Yield facts about an installation, the quick ones first; none of them raises, whatever is broken."""
    checks: dict[str, Callable[[], Iterator[Fact]]] = {
        "oscine": describe_package,
        "system": describe_system,
        "libraries": list_libraries,
        "extras": list_extras,
        "audio": try_audio,
        "cache": try_cache,
        "disk": describe_disk,
        "torch": try_torch,
    }
    for name, check in checks.items():
        try:
            yield from check()
        except Exception as error:  # a broken installation breaks in any way; the rest is wanted all the same
            yield Fact(name, " ".join(f"{type(error).__name__}: {error}".split()), works=False)


def describe_package() -> Iterator[Fact]:
    folder = Path(oscine.__file__).parent
    rooms = folder / "models"
    if rooms.is_symlink():
        kind = "a checkout with links"
    elif rooms.is_dir():
        kind = "installed"
    else:
        kind = "a checkout whose links git wrote as text files, which works, but not for mypy and pyright"
    yield Fact("oscine", f"{oscine.__version__} in {shorten(folder)}, {kind}")


def describe_system() -> Iterator[Fact]:
    yield Fact("python", f"{platform.python_version()} ({shorten(Path(sys.executable))})")
    threads = os.environ.get("OMP_NUM_THREADS")
    yield Fact(
        "system",
        f"{platform.platform()}; {cores()} of {os.cpu_count()} cores{f', OMP_NUM_THREADS={threads}' if threads else ''}; "
        f"text is {locale.getpreferredencoding(False)}, output {getattr(sys.stdout, 'encoding', None)}",
    )


def list_libraries() -> Iterator[Fact]:
    versions = {name: installed(name) for name in LIBRARIES}
    yield Fact("libraries", ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items()))
    if missing := [name for name in required("") if not installed(name)]:
        yield Fact("missing", f"{', '.join(missing)}: install oscine again", works=False)


def list_extras() -> Iterator[Fact]:
    """List the optional packages, and how to get those that are missing."""
    for extra in sorted(set(metadata("oscine").get_all("Provides-Extra") or []) - {"dev"}):
        missing = [name for name in required(extra) if not installed(name)]
        text = f'missing {", ".join(missing)}: pip install "oscine[{extra}]"' if missing else "installed"
        yield Fact(f"[{extra}]", f"{text}; for {PURPOSES[extra]}" if extra in PURPOSES else text)


def required(extra: str) -> list[str]:
    """Return the packages that oscine declares here: those of an extra alone, or with "" what it always needs."""
    found = []
    for need in map(Requirement, requires("oscine") or []):
        always = need.marker is None or need.marker.evaluate({"extra": ""})
        if always == (not extra) and (always or (need.marker and need.marker.evaluate({"extra": extra}))):
            found.append(need.name)
    return found


def try_audio() -> Iterator[Fact]:
    """Write, read and resample a tone."""
    import numpy as np
    import soundfile
    import soxr

    def tone(rate: int) -> np.ndarray:
        return np.sin(2 * np.pi * TONE * np.arange(rate) / rate) / 2

    works: list[str] = []
    fails: list[str] = []
    with TemporaryDirectory(prefix="oscine-") as folder:
        for kind, subtype in FORMATS.items():
            path = os.path.join(folder, f"tone.{kind.lower()}")
            try:
                soundfile.write(path, tone(RATE), RATE, subtype, format=kind)
                read, rate = soundfile.read(path)
                good = rate == RATE and alike(read, tone(RATE))
                (works if good else fails).append(kind if good else f"{kind} reads as something else")
            except (soundfile.LibsndfileError, ValueError, OSError) as error:
                fails.append(f"{kind} ({error})")
    resampled = soxr.resample(tone(RATE), RATE, RATE // 2, quality="HQ")
    (works if alike(resampled, tone(RATE // 2)) else fails).append("resampling")
    yield Fact(
        "audio", f"{', '.join(works)} work; libsndfile {soundfile.__libsndfile_version__.removeprefix('libsndfile-')}"
    )
    if fails:
        yield Fact("audio", f"does not work: {', '.join(fails)}; reinstall soundfile and soxr", works=False)


def alike(first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether two tones are the same for most of their length; encoders may pad a little."""
    import numpy as np

    length = min(len(first), len(second))
    if abs(len(first) - len(second)) > len(second) // 4:
        return False
    lags = [np.corrcoef(first[lag:length], second[: length - lag])[0, 1] for lag in range(length // 8)]
    return max(lags) > SHARED


def try_cache() -> Iterator[Fact]:
    """Try to read and write the Hub's cache, and tell whether the Hub may be asked."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    there = next(place for place in (cache, *cache.parents) if place.exists())
    held = len(list(cache.glob("models--*"))) if there == cache else 0
    try:
        with TemporaryFile(dir=there):
            written = True
    except OSError:
        written = False
    readable = os.access(there, os.R_OK | os.X_OK)
    mode = "fetching is off by HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else "fetching is on (not tried)"
    state = f"{held} models" if there == cache else "not there yet"
    text = f"{shorten(cache)}: {state}, {'writable' if written else 'not writable'}; {mode}"
    yield Fact(
        "hub cache", text if readable else f"{text}; not readable: set HF_HOME to another folder", works=readable
    )


def describe_disk() -> Iterator[Fact]:
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    yield Fact("disk", f"{free / 1e9:.1f} GB free in {shorten(here)}{', which is little' if free < SPACE else ''}")


def try_torch() -> Iterator[Fact]:
    """Load torch with torchaudio, torchvision and timm, list the devices, and run an encoder."""
    try:
        load_libraries()
    except OscineError as error:
        yield Fact("torch", str(error), works=False)
        return
    import torch

    yield Fact("torch", f"loads, and torchaudio, torchvision and timm with it; {torch.get_num_threads()} threads")
    yield Fact("devices", "; ".join(describe_devices()))
    encoder = oscine.create_model("bird_mae_tiny", pretrained=True)
    pooled = encoder(torch.zeros(1, encoder.samples)).pooled
    works = bool(pooled.isfinite().all())
    yield Fact("encoder", f"bird_mae_tiny {'embeds a clip' if works else 'embeds a clip as what is no number'}", works)


def describe_devices() -> Iterator[str]:
    import torch

    yield "cpu"
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(number)
        yield f"cuda:{number} {about.name}, {about.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        yield "mps (Apple)"
    if not torch.cuda.is_available() and shutil.which("nvidia-smi"):
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU alone"
        yield f"an NVIDIA driver is here, but this torch, built for {built}, finds no GPU"


def shorten(path: Path) -> str:
    """Return a path with ~ for the user's folder: reports are public."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except ValueError:
        return str(path)
