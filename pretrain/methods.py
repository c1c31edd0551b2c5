"""The recipes by the names of their classes, as configurations have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oscine.models.lazy import LazyClasses

if TYPE_CHECKING:
    from oscine.pretrain.recipe import Recipe

METHODS: LazyClasses[Recipe] = LazyClasses(
    "oscine.pretrain", {"BATPretraining": "bat", "BirdMAEPretraining": "bird_mae"}
)
