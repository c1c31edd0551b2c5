"""Everything needed to make an encoder: the recipes."""

from typing import TYPE_CHECKING

from oscine.models.lazy import lazily

if TYPE_CHECKING:
    from oscine.pretrain.bat import BATPretraining
    from oscine.pretrain.bird_mae import BirdMAEPretraining
    from oscine.pretrain.recipe import Recipe
    from oscine.pretrain.run.run import run_pretraining
    from oscine.pretrain.run.settings import PretrainingRunSettings
    from oscine.pretrain.settings import DataSettings, TrainerSettings
else:
    homes = {
        "BATPretraining": "bat",
        "BirdMAEPretraining": "bird_mae",
        "DataSettings": "settings",
        "PretrainingRunSettings": "run.settings",
        "Recipe": "recipe",
        "TrainerSettings": "settings",
        "run_pretraining": "run.run",
    }
    __getattr__, __dir__ = lazily(__name__, homes)

__all__ = [
    "BATPretraining",
    "BirdMAEPretraining",
    "DataSettings",
    "PretrainingRunSettings",
    "Recipe",
    "TrainerSettings",
    "run_pretraining",
]
