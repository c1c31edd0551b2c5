"""oscine: a zoo of self-supervised audio encoders. Start with `oscine.create_model`."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

__version__ = version("oscine")

# In an installation the rooms are beside this file, in a checkout there are links to them. Where git wrote the links as text
# files, as it does on Windows, the rooms are found at the checkout's root.
if not (_here := Path(__file__).absolute().parent).joinpath("models").is_dir():
    __path__.append(str(_here.parents[1]))

from oscine import models, pretrain, probe

if TYPE_CHECKING:
    from oscine.models.audio.load import load_audio, split_clips
    from oscine.models.embed.embed import embed_folder
    from oscine.models.zoo import create_model, list_models
    from oscine.probe.deploy.saved_probe import load_probe
else:
    homes = {
        "models.audio.load": ["load_audio", "split_clips"],
        "models.embed.embed": ["embed_folder"],
        "models.zoo": ["create_model", "list_models"],
        "probe.deploy.saved_probe": ["load_probe"],
    }
    __getattr__, _ = models.lazy.lazily(__name__, homes)

__all__ = [
    "create_model",
    "embed_folder",
    "list_models",
    "load_audio",
    "load_probe",
    "models",
    "pretrain",
    "probe",
    "split_clips",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
