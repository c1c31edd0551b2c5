"""Tiny stand-ins of the Hub's repositories whose weights a classifier comes with, in the very layout that is published."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import save
from torch import Tensor

from oscine.models import checkpoints
from oscine.models.checkpoints import ARCHITECTURES, PUBLISHED
from oscine.probe.deploy.published_classifiers import HEADS, audioprotopnet
from tests.conftest import Golden
from tests.hub_server import Hub
from tests.tiny_encoders import TINY_CONVNEXT

BIRDS = ["wren", "robin", "tawny owl", "blackbird", "dunnock", "rook"]
LINEAR, PROTOTYPES, OWN_MEL = "convnext_base.xcl", "convnext_base.ppnet1", "convnext_base.ppnet5"
REPOSITORIES = {row.name: str(row.repository) for row in PUBLISHED}


def labels(names: list[str]) -> bytes:
    return json.dumps({"model_type": "convnext", "id2label": {str(at): name for at, name in enumerate(names)}}).encode()


def prototype_file(golden: Golden) -> dict[str, Tensor]:
    backbone = {f"model.backbone.{name}": tensor for name, tensor in golden.under("hf.convnext.").items()}
    return backbone | {
        "head.prototype_vectors": golden["appn.prototypes"],
        "head.last_layer.weight": golden["appn.weight"],
        "head.last_layer.bias": golden["appn.bias"],
    }


def add_stand_ins(hub: Hub, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put them on a Hub, and make the zoo's rows as small as they are."""
    small = ARCHITECTURES["convnext_base"]._replace(config=TINY_CONVNEXT)
    monkeypatch.setitem(ARCHITECTURES, "convnext_base", small)
    # The golden head reads the golden map, which is of the other spectrogram, and has three prototypes a class.
    rows = tuple(row._replace(settings={}) if row.name == PROTOTYPES else row for row in PUBLISHED)
    monkeypatch.setattr(checkpoints, "PUBLISHED", rows)
    linear = {"model.safetensors": save(golden.under("hf.")), "config.json": labels(BIRDS)}
    hub.add(REPOSITORIES[LINEAR], linear)
    prototypes = {"model.safetensors": save(prototype_file(golden)), "config.json": labels(BIRDS[:4])}
    for name in (PROTOTYPES, OWN_MEL):  # the second on the spectrogram of its row
        monkeypatch.setitem(HEADS, name, audioprotopnet(3))
        hub.add(REPOSITORIES[name], prototypes)
