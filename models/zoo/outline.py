"""Tell what probes have to know of an encoder before it is opened, without torch or a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from oscine.models.checkpoints import ONE_LAYER, ONNX_ENCODER
from oscine.models.encoders.names import ENCODERS
from oscine.models.hub.encoder_files import CONFIG, check_content, encoder_folder, read_content
from oscine.models.hub.model_name import ModelName
from oscine.models.json_text import fits
from oscine.models.zoo.names import find_architecture


class Outline(NamedTuple):
    """What is known of an encoder before it is opened; None where it is not.

    depth      how many layers it has
    spatial    whether its patches are a map, as `Encoder` says it
    trainable  whether gradients reach its weights, as `Encoder` says it
    """

    depth: int | None = None
    spatial: bool | None = None
    trainable: bool | None = None


def outline_of(name: str) -> Outline:
    """Read from an encoder's row or config.json what probes have to know, without torch or a network."""
    called = ModelName.parse(name)
    if called.on_hub or called.is_class:
        return Outline()
    if called.is_folder:
        content = read_content(encoder_folder(called.path) / CONFIG)
        check_content(content)
        return _outline(content.get("architecture"), content["config"])
    row = find_architecture(name)
    return _outline(row.encoder, {**row.sizes, **row.config})


def _outline(encoder: object, settings: Mapping[str, Any]) -> Outline:
    """Read the outline of an encoder from its settings, of which a stranger's may lack any."""
    if encoder == ONNX_ENCODER:
        return Outline(ONE_LAYER["depth"], settings.get("patch_map") is not None, trainable=False)
    depths = settings.get("depths")  # of ConvNeXt's stages, whose last has the layers
    depth = settings.get("depth", depths[-1] if fits(depths, list[int]) and depths else None)
    ours = True if encoder in ENCODERS.homes else None
    return Outline(depth if fits(depth, int) else None, spatial=ours, trainable=ours)
