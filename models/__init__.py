"""Everything needed to use an encoder: audio in, features out."""

from typing import TYPE_CHECKING

from oscine.models.lazy import lazily

if TYPE_CHECKING:
    from oscine.models.audio import AudioError, load_audio, split_clips
    from oscine.models.audio_mae import AudioMAE
    from oscine.models.bat import BAT
    from oscine.models.beats import BEATs
    from oscine.models.bird_mae import BirdMAE
    from oscine.models.convert import convert_checkpoint
    from oscine.models.eat import EAT
    from oscine.models.embed import embed_file, embed_folder, embed_recordings
    from oscine.models.encoder import Encoder
    from oscine.models.errors import OscineError
    from oscine.models.features import Features
    from oscine.models.hub import load_pretrained, save_pretrained
    from oscine.models.merge import merge_tables
    from oscine.models.publish import push_to_hub
    from oscine.models.table import read_embeddings
    from oscine.models.zoo import create_model, list_models
else:
    homes = {
        "AudioError": "audio",
        "AudioMAE": "audio_mae",
        "BAT": "bat",
        "BEATs": "beats",
        "BirdMAE": "bird_mae",
        "EAT": "eat",
        "Encoder": "encoder",
        "Features": "features",
        "OscineError": "errors",
        "convert_checkpoint": "convert",
        "create_model": "zoo",
        "embed_file": "embed",
        "embed_folder": "embed",
        "embed_recordings": "embed",
        "list_models": "zoo",
        "load_audio": "audio",
        "load_pretrained": "hub",
        "merge_tables": "merge",
        "push_to_hub": "publish",
        "read_embeddings": "table",
        "save_pretrained": "hub",
        "split_clips": "audio",
    }
    __getattr__, __dir__ = lazily(__name__, homes)

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
    "convert_checkpoint",
    "create_model",
    "embed_file",
    "embed_folder",
    "embed_recordings",
    "list_models",
    "load_audio",
    "load_pretrained",
    "merge_tables",
    "push_to_hub",
    "read_embeddings",
    "save_pretrained",
    "split_clips",
]
