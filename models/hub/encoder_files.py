"""Check an encoder's folder by its files: config.json, sizes, weights. No torch is needed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from oscine.models import settings_checks
from oscine.models.encoders.names import ENCODERS
from oscine.models.errors import OscineError
from oscine.models.files import did_you_mean
from oscine.models.json_text import check_version, read_json, shown
from oscine.models.plugins.classes import parameters_of

WEIGHTS, CONFIG = "model.safetensors", "config.json"
ONNX = ".onnx"  # how files end that onnxruntime computes
SETTINGS = "settings.yaml"  # of the run that made an encoder
INSIDE = "encoder"  # where a run keeps its encoder
# What the class of an encoder takes; it stands here because it needs torch to say so.
SHARED = ("dim", "depth", "heads", "mlp_ratio", "drop_path", "sample_rate", "seconds")
ENCODER_SETTINGS = {
    "AudioMAE": (*SHARED, "frames", "mean", "std"),
    "AudioMosaic": (*SHARED, "frames", "mean", "std"),
    "BAT": (*SHARED, "n_fft", "hop"),
    "BEATs": (*SHARED, "patch_dim", "conv_width", "conv_groups", "buckets", "max_distance", "mean", "std"),
    "BirdMAE": (*SHARED, "mean", "std"),
    "ConvNeXt": ("depths", "widths", "drop_path", "sample_rate", "seconds", "n_fft", "hop", "bands", "mean", "std"),
    "EAT": (*SHARED, "mean", "std"),
    "ONNXEncoder": (
        "dim", "sample_rate", "seconds", "grid", "input", "embedding", "patch_map", "scores", "activation", "scale", "shift",
        "peak", "class_file", "class_column", "step_seconds", "sha256", "joined_sha256", "file_bytes", "class_bytes",
    ),
    "Wav2Vec2": (*SHARED, "conv_dim", "conv_width", "conv_groups", "pre_norm", "normalise"),
}  # fmt: skip
# The least and the most that an encoder's numbers may be: a config.json may be a stranger's, and sizes are allocated.
BOUNDS: dict[str, tuple[float, float]] = {
    "dim": (1, 16_384), "depth": (1, 256), "heads": (1, 1_024), "mlp_ratio": (0.01, 64), "drop_path": (0, 0.99),
    "sample_rate": (1_000, 1_000_000), "seconds": (0.01, 3_600), "mean": (-1e6, 1e6), "std": (1e-6, 1e6),
    "depths": (1, 256), "widths": (1, 16_384), "bands": (1, 1_024),
    "n_fft": (16, 65_536), "hop": (1, 65_536), "frames": (16, 65_536), "patch_dim": (1, 16_384),
    "conv_width": (1, 4_096), "conv_groups": (1, 4_096), "buckets": (4, 65_536), "max_distance": (1, 1_000_000),
    "scale": (1e-6, 1e6), "shift": (-1e6, 1e6), "peak": (1e-6, 1e6), "file_bytes": (0, 2**31), "class_bytes": (0, 2**24),
    "conv_dim": (1, 4_096), "step_seconds": (1e-4, 3_600),
}  # fmt: skip
MOST_SAMPLES = 100_000_000  # of a clip, in memory 400 MB
MOST_WEIGHTS = 4_000_000_000  # of all blocks, about; the largest encoder of the zoo has 630 million


def encoder_folder(path: str | Path) -> Path:
    """Return the folder of an encoder: the one that is named, or `encoder` in it, as a run has it."""
    folder = Path(path)
    return folder / INSIDE if (folder / INSIDE / CONFIG).is_file() and not (folder / CONFIG).is_file() else folder


def check_folder(folder: Path) -> None:
    """Raise what its files tell to be wrong with the folder of an encoder, short of reading its weights."""
    path = folder / CONFIG
    content = read_content(path)
    try:
        check_content(content)
        ENCODERS.check_file(content.get("architecture"), content.get("module"), path)
    except OscineError as error:
        raise OscineError(f"{path}: {error}") from None
    check_weights(folder / WEIGHTS)


def check_weights(path: str | Path) -> None:
    """Raise where there is no file of weights."""
    if not Path(path).exists():
        raise no_weights(path)


def no_weights(path: str | Path) -> OscineError:
    return OscineError(f"no weights at {path}; {did_you_mean(path, 'check the path, or copy the file there')}")


def read_content(path: Path) -> Any:
    """Read a config.json of this oscine, or an older one, not checked yet: see `check_content`."""
    try:
        content = read_json(path, "save the encoder again")
    except OSError as error:
        reason = f"{error.strerror}: {CONFIG}"
        if (path.parent / SETTINGS).is_file():
            raise OscineError(
                f"the run in {path.parent} has no {INSIDE} yet; resume it, or start another run from its newest state"
            ) from None
        raise OscineError(
            f"no encoder in {path.parent} ({reason}); "
            + did_you_mean(path.parent, f"expected a folder with {CONFIG} and {WEIGHTS}")
        ) from None
    if isinstance(content, dict):
        check_version(content.get("oscine_version"), path)
    return content


def check_content(content: Any) -> None:
    """Raise where a config.json does not hold an architecture and its settings; which architecture is not looked at."""
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise OscineError("no 'architecture' with its 'config', as oscine saves them")


def check_settings(encoder: str, names: Iterable[str]) -> None:
    """Raise where the class of an encoder has no setting of a name."""
    settings_checks.check_settings(encoder, names, ENCODER_SETTINGS.get(encoder) or parameters_of(ENCODERS[encoder]))


def check_numbers(architecture: str, config: dict[str, Any]) -> None:
    """Raise where a number of an encoder's config is beyond what any encoder has, alone or with the others."""
    for name, (least, most) in BOUNDS.items():
        given = config.get(name)
        numbers = given if isinstance(given, list) else [given]
        if any(isinstance(number, (int, float)) and not least <= number <= most for number in numbers):
            raise OscineError(
                f"{architecture} cannot have {name}={shown(config[name])}; expected {least:g} to {most:g}"
            )
    sizes = {"dim": 0, "depth": 0, "mlp_ratio": 0.0, "sample_rate": 0, "seconds": 0.0}
    sizes |= {
        name: value for name, value in config.items() if isinstance(value, (int, float))
    }  # somebody's own may differ
    if (samples := sizes["seconds"] * sizes["sample_rate"]) > MOST_SAMPLES:
        raise OscineError(f"{architecture} cannot have clips of {samples:g} samples; expected {MOST_SAMPLES:,} at most")
    if (weights := sizes["depth"] * sizes["dim"] ** 2 * (4 + 2 * sizes["mlp_ratio"])) > MOST_WEIGHTS:
        raise OscineError(f"{architecture} cannot have {weights:g} weights; expected {MOST_WEIGHTS:,} at most")
