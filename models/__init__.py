"""Everything needed to use an encoder: audio in, features out."""

from typing import TYPE_CHECKING

from oscine.models.lazy import lazily

if TYPE_CHECKING:
    from oscine.models.audio.load import AudioError, load_audio, split_clips
    from oscine.models.embed.embed import embed_file, embed_folder, embed_recordings
    from oscine.models.embed.merge import merge_tables
    from oscine.models.embed.table import read_embeddings
    from oscine.models.encoders.audio_mae import AudioMAE
    from oscine.models.encoders.base.encoder import Encoder
    from oscine.models.encoders.base.features import Features
    from oscine.models.encoders.base.patch_encoder import PatchEncoder
    from oscine.models.encoders.bat import BAT
    from oscine.models.encoders.beats import BEATs
    from oscine.models.encoders.bird_mae import BirdMAE
    from oscine.models.encoders.eat import EAT
    from oscine.models.errors import OscineError
    from oscine.models.hub.folder import load_pretrained, save_pretrained
    from oscine.models.publish.convert import convert_checkpoint
    from oscine.models.publish.upload import push_to_hub
    from oscine.models.zoo import create_model, list_models, register_encoder
else:
    homes = {
        "AudioError": "audio.load",
        "AudioMAE": "encoders.audio_mae",
        "BAT": "encoders.bat",
        "BEATs": "encoders.beats",
        "BirdMAE": "encoders.bird_mae",
        "EAT": "encoders.eat",
        "Encoder": "encoders.base.encoder",
        "Features": "encoders.base.features",
        "OscineError": "errors",
        "PatchEncoder": "encoders.base.patch_encoder",
        "convert_checkpoint": "publish.convert",
        "create_model": "zoo",
        "embed_file": "embed.embed",
        "embed_folder": "embed.embed",
        "embed_recordings": "embed.embed",
        "list_models": "zoo",
        "load_audio": "audio.load",
        "load_pretrained": "hub.folder",
        "merge_tables": "embed.merge",
        "push_to_hub": "publish.upload",
        "read_embeddings": "embed.table",
        "register_encoder": "zoo",
        "save_pretrained": "hub.folder",
        "split_clips": "audio.load",
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
    "PatchEncoder",
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
    "register_encoder",
    "save_pretrained",
    "split_clips",
]
