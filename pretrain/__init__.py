"""Everything needed to make an encoder: the recipes, and what runs them."""

from typing import TYPE_CHECKING

from oscine.models.lazy import lazily

if TYPE_CHECKING:
    from oscine.pretrain.audiomosaic import AudioMosaicPretraining
    from oscine.pretrain.bat import BATPretraining
    from oscine.pretrain.bird_mae import BirdMAEPretraining
    from oscine.pretrain.data.datamodule import PretrainingData
    from oscine.pretrain.masking import block_keep, dropped_patches, line_keep, random_keep
    from oscine.pretrain.methods import register_recipe
    from oscine.pretrain.recipe import Recipe
    from oscine.pretrain.run.health import Health
    from oscine.pretrain.run.metrics import loss_curve
    from oscine.pretrain.run.pictures import Pictures
    from oscine.pretrain.run.run import fit_recipe, make_trainer, run_pretraining
    from oscine.pretrain.run.settings import PretrainingRunSettings
    from oscine.pretrain.schedule import adamw, warmup_cosine_schedule
    from oscine.pretrain.settings import DataSettings, TrainerSettings
else:
    homes = {
        "audiomosaic": ["AudioMosaicPretraining"],
        "bat": ["BATPretraining"],
        "bird_mae": ["BirdMAEPretraining"],
        "data.datamodule": ["PretrainingData"],
        "masking": ["block_keep", "dropped_patches", "line_keep", "random_keep"],
        "recipe": ["Recipe"],
        "run.health": ["Health"],
        "run.metrics": ["loss_curve"],
        "run.pictures": ["Pictures"],
        "run.run": ["fit_recipe", "make_trainer", "run_pretraining"],
        "run.settings": ["PretrainingRunSettings"],
        "schedule": ["adamw", "warmup_cosine_schedule"],
        "methods": ["register_recipe"],
        "settings": ["DataSettings", "TrainerSettings"],
    }
    __getattr__, __dir__ = lazily(__name__, homes)

__all__ = [
    "AudioMosaicPretraining", "BATPretraining", "BirdMAEPretraining", "DataSettings", "Health", "Pictures",
    "PretrainingData", "PretrainingRunSettings", "Recipe", "TrainerSettings", "adamw", "block_keep", "dropped_patches",
    "fit_recipe", "line_keep", "loss_curve", "make_trainer", "random_keep", "register_recipe", "run_pretraining",
    "warmup_cosine_schedule",
]  # fmt: skip
