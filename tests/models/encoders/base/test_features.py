"""Features give their parts by name, of all layers or of one, and tell the names where one is wrong."""

from __future__ import annotations

import pytest
import torch

from oscine.models.encoders.base.features import Features, Selection
from oscine.models.errors import OscineError

FEATURES = Features(torch.randn(3, 2, 5), torch.randn(3, 2, 4, 6, 5), torch.randn(2, 5))


@pytest.mark.parametrize("selection", [one for one in Selection if one != Selection.POOLED])
@pytest.mark.parametrize("layer", [0, 2, -1])
def test_a_part_of_one_layer_is_that_of_all_layers_there(selection: Selection, layer: int) -> None:
    assert torch.equal(FEATURES.select(selection, layer), FEATURES.select(selection)[[layer]])


def test_the_models_own_vector_is_of_no_layer() -> None:
    assert torch.equal(FEATURES.select("pooled", 1), FEATURES.pooled[None])


def test_a_part_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(OscineError, match=r"^no part 'max' of Features; choose from cls, mean, bands, .*, pooled$"):
        FEATURES.select("max")
