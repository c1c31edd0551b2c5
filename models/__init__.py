"""Everything needed to use an encoder: audio in, features out."""

from oscine.models.audio import AudioError, load_audio, split_clips
from oscine.models.audio_mae import AudioMAE
from oscine.models.bat import BAT
from oscine.models.beats import BEATs
from oscine.models.bird_mae import BirdMAE
from oscine.models.eat import EAT
from oscine.models.embed import embed_file, embed_folder
from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.features import Features
from oscine.models.hub import load_pretrained, save_pretrained
from oscine.models.merge import merge_tables
from oscine.models.table import read_embeddings
from oscine.models.zoo import create_model, list_models

__all__ = [
    "BAT",
    "EAT",
    "AudioError",
    "AudioMAE",
    "BEATs",
    "BirdMAE",
    "Encoder",
    "Features",
    "OscineError",
    "create_model",
    "embed_file",
    "embed_folder",
    "list_models",
    "load_audio",
    "load_pretrained",
    "merge_tables",
    "read_embeddings",
    "save_pretrained",
    "split_clips",
]
