"""Use an encoder: audio in, features out."""

from typing import TYPE_CHECKING

from oscine.models.lazy import lazily

if TYPE_CHECKING:
    from oscine.models.audio.load import AudioError, load_audio, split_clips
    from oscine.models.embed.embed import embed_file, embed_folder, embed_recordings
    from oscine.models.embed.merge import merge_tables
    from oscine.models.embed.table import read_embeddings
    from oscine.models.encoders.audio_mae import AudioMAE
    from oscine.models.encoders.audiomosaic import AudioMosaic
    from oscine.models.encoders.base.encoder import Encoder
    from oscine.models.encoders.base.features import Features
    from oscine.models.encoders.base.patch_encoder import PatchEncoder
    from oscine.models.encoders.bat import BAT
    from oscine.models.encoders.beats import BEATs
    from oscine.models.encoders.bird_mae import BirdMAE
    from oscine.models.encoders.convnext import ConvNeXt
    from oscine.models.encoders.eat import EAT
    from oscine.models.encoders.wav2vec2 import Wav2Vec2
    from oscine.models.errors import OscineError
    from oscine.models.hub.folder import load_pretrained, save_pretrained
    from oscine.models.publish.convert import convert_checkpoint
    from oscine.models.publish.upload import push_to_hub
    from oscine.models.zoo import create_model, list_models, register_encoder
else:
    homes = {
        "audio.load": ["AudioError", "load_audio", "split_clips"],
        "embed.embed": ["embed_file", "embed_folder", "embed_recordings"],
        "embed.merge": ["merge_tables"],
        "embed.table": ["read_embeddings"],
        "encoders.audio_mae": ["AudioMAE"],
        "encoders.audiomosaic": ["AudioMosaic"],
        "encoders.base.encoder": ["Encoder"],
        "encoders.base.features": ["Features"],
        "encoders.base.patch_encoder": ["PatchEncoder"],
        "encoders.bat": ["BAT"],
        "encoders.beats": ["BEATs"],
        "encoders.bird_mae": ["BirdMAE"],
        "encoders.convnext": ["ConvNeXt"],
        "encoders.eat": ["EAT"],
        "encoders.wav2vec2": ["Wav2Vec2"],
        "errors": ["OscineError"],
        "hub.folder": ["load_pretrained", "save_pretrained"],
        "publish.convert": ["convert_checkpoint"],
        "publish.upload": ["push_to_hub"],
        "zoo": ["create_model", "list_models", "register_encoder"],
    }
    __getattr__, __dir__ = lazily(__name__, homes)

__all__ = [
    "BAT", "EAT", "AudioError", "AudioMAE", "AudioMosaic", "BEATs", "BirdMAE", "ConvNeXt", "Encoder", "Features",
    "OscineError", "PatchEncoder", "Wav2Vec2", "convert_checkpoint", "create_model", "embed_file", "embed_folder",
    "embed_recordings", "list_models", "load_audio", "load_pretrained", "merge_tables", "push_to_hub",
    "read_embeddings", "register_encoder", "save_pretrained", "split_clips",
]  # fmt: skip
