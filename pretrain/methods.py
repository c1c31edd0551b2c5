"""Find the recipes by the names of their classes, as configurations have them.

Not in settings.py: jsonargparse imports what stands there for type checkers alone, and with it torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oscine.models.plugins.classes import Classes

if TYPE_CHECKING:
    from oscine.pretrain.recipe import Recipe

METHODS: Classes[Recipe] = Classes(
    "method",
    "oscine.pretrain.recipe:Recipe",
    "oscine.pretrain",
    {"BATPretraining": "bat", "BirdMAEPretraining": "bird_mae", "AudioMosaicPretraining": "audiomosaic"},
)


def register_recipe(kind: type[Recipe]) -> type[Recipe]:
    """Make a recipe of your own known by the name of its class, as `method` in a YAML; also as a decorator of the class.

    A name that another recipe has is an error. What a recipe must promise says docs/extend.md.
    """
    return METHODS.register(kind)
