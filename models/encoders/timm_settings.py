"""Settings that people know from timm's `create_model`, and what says the same here."""

from __future__ import annotations

from typing import Any

from oscine.models.errors import OscineError

LAYERS = "encoder(waveform, layers=[0, 5]) returns the features of these layers, encoder.forward_intermediates timm's"
INSTEAD = {
    "num_classes": "encoders have no classifier; the probes of oscine.probe have, such as LinearProbe(encoder, classes)",
    "in_chans": "encoders take mono waveforms; load_audio mixes the channels of a recording, or reads one (channel=)",
    "global_pool": "one call returns every pool: features.pooled, features.cls, features.patches",
    "features_only": LAYERS,
    "out_indices": LAYERS,
}


def without_timm_settings(overrides: dict[str, Any]) -> dict[str, Any]:
    """Drop `num_classes=0`, which every encoder fulfils; for timm's other settings raise an error that says what to call."""
    rest = {name: value for name, value in overrides.items() if (name, value) != ("num_classes", 0)}
    if known := next((name for name in rest if name in INSTEAD), None):
        raise OscineError(f"{known}={rest[known]!r} is a setting of timm's; {INSTEAD[known]}; leave {known} out")
    return rest
