"""Names to encoders: known, listed and checked without torch, fetched, and made."""

from typing import TYPE_CHECKING

from oscine.models.lazy import lazily

if TYPE_CHECKING:
    from oscine.models.zoo.checks import check_encoder, check_fetchable, check_model
    from oscine.models.zoo.create import create_model, open_encoder, settings_of
    from oscine.models.zoo.fetch import fetch_weights
    from oscine.models.zoo.names import find_architecture, list_models, matches, register_encoder
    from oscine.models.zoo.outline import Outline, outline_of
else:
    homes = {
        "checks": ["check_encoder", "check_fetchable", "check_model"],
        "create": ["create_model", "open_encoder", "settings_of"],
        "fetch": ["fetch_weights"],
        "names": ["find_architecture", "list_models", "matches", "register_encoder"],
        "outline": ["Outline", "outline_of"],
    }
    __getattr__, __dir__ = lazily(__name__, homes)

__all__ = [
    "Outline", "check_encoder", "check_fetchable", "check_model", "create_model", "fetch_weights", "find_architecture",
    "list_models", "matches", "open_encoder", "outline_of", "register_encoder", "settings_of",
]  # fmt: skip
