"""Find an encoder's class by its name, as config.json and other files have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oscine.models.plugins.classes import Classes

if TYPE_CHECKING:
    from oscine.models.encoders.base.encoder import Encoder

ENCODERS: Classes[Encoder] = Classes(
    "architecture",
    "oscine.models.encoders.base.encoder:Encoder",
    "oscine.models",
    {
        "BAT": "encoders.bat",
        "BirdMAE": "encoders.bird_mae",
        "EAT": "encoders.eat",
        "BEATs": "encoders.beats",
        "ConvNeXt": "encoders.convnext",
        "AudioMAE": "encoders.audio_mae",
        "Wav2Vec2": "encoders.wav2vec2",
        "AudioMosaic": "encoders.audiomosaic",
        "ONNXEncoder": "encoders.onnx_encoder",
    },
)
