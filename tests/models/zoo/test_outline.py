"""What is known of an encoder before it is opened is what it has."""

from __future__ import annotations

import pytest
import torch

from oscine.models.checkpoints import ARCHITECTURES
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.convnext import ConvNeXt
from oscine.models.encoders.onnx_encoder import ONNXEncoder
from oscine.models.hub.folder import ENCODERS, build, save_pretrained
from oscine.models.zoo import Outline, list_models, outline_of

SMALL = {"dim": 48, "depth": 2, "heads": 4, "seconds": 1.0}


@pytest.mark.parametrize("name", list_models())
def test_what_the_table_says_of_a_model_is_what_it_has(name):
    row = ARCHITECTURES[name]
    with torch.device("meta"):
        encoder = build(ENCODERS[row.encoder], row.config)
    assert type(encoder).__name__ == row.encoder
    assert sum(parameter.numel() for parameter in encoder.parameters()) == row.parameters
    assert (encoder.sample_rate, encoder.seconds) == (row.sample_rate, row.seconds)
    sizes = {**row.sizes, **row.config}
    assert (encoder.dim, encoder.depth) == (sizes["dim"], sizes["depth"])
    assert outline_of(name) == Outline(encoder.depth, encoder.spatial, encoder.trainable)


def test_a_folder_tells_what_its_encoder_is_before_it_is_opened(tmp_path):
    kinds = {"bat": BAT(**SMALL), "convnext": ConvNeXt([1, 1, 1, 2], [8, 8, 8, 8], seconds=1.0), "onnx": ONNXEncoder()}
    for name, encoder in kinds.items():
        save_pretrained(encoder, tmp_path / name)
        assert outline_of(f"local-dir:{tmp_path / name}") == Outline(
            encoder.depth, encoder.spatial, encoder.trainable
        ), name
    assert outline_of("hf-hub:robin/tiny") == Outline()
