"""Everything needed to use an encoder: audio in, features out."""

from oscine.models.bat import BAT
from oscine.models.bird_mae import BirdMAE
from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.features import Features
from oscine.models.hub import load_pretrained, save_pretrained
from oscine.models.zoo import create_model, list_models

__all__ = [
    "BAT",
    "BirdMAE",
    "Encoder",
    "Features",
    "OscineError",
    "create_model",
    "list_models",
    "load_pretrained",
    "save_pretrained",
]
