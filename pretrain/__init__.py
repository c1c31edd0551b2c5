"""Everything needed to make an encoder: the recipes."""

from typing import TYPE_CHECKING

from oscine.models.lazy import lazily

if TYPE_CHECKING:
    from oscine.pretrain.bat import BATPretraining
    from oscine.pretrain.bird_mae import BirdMAEPretraining
    from oscine.pretrain.recipe import Recipe
else:
    homes = {"BATPretraining": "bat", "BirdMAEPretraining": "bird_mae", "Recipe": "recipe"}
    __getattr__, __dir__ = lazily(__name__, homes)

__all__ = ["BATPretraining", "BirdMAEPretraining", "Recipe"]
