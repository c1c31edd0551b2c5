"""Everything needed to make an encoder: the recipes."""

from oscine.pretrain.bat import BATPretraining
from oscine.pretrain.bird_mae import BirdMAEPretraining
from oscine.pretrain.recipe import Recipe

__all__ = ["BATPretraining", "BirdMAEPretraining", "Recipe"]
