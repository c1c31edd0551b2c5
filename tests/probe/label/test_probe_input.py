"""What a probe's last map reads stands in a table, from which that map gives the probe's answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from oscine.models.embed.embed import embed_recordings
from oscine.models.encoders.bat import BAT
from oscine.models.errors import OscineError
from oscine.models.hub.folder import save_pretrained
from oscine.models.zoo import create_model
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.predict import predict_file
from oscine.probe.deploy.saved_probe import save_probe
from oscine.probe.heads.attentive import AttentiveProbe
from oscine.probe.heads.convex_gated import ConvexGatedProbe
from oscine.probe.heads.linear import LinearProbe, MLPProbe
from oscine.probe.heads.protobin import ProtobinProbe
from oscine.probe.heads.prototypical import PrototypicalProbe
from oscine.probe.label.loop.clips import read_clips
from oscine.probe.label.loop.settings import LoopSettings
from oscine.probe.label.probe_input import PROBE_INPUT, ProbeInputs
from oscine.probe.label.queue.queue import QueueSettings, make_queue, shares_of
from oscine.probe.tasks.kinds import TaskKind

HEADS = {
    "linear": (LinearProbe, {"pool": "bands", "norm": "batch"}),
    "mlp": (MLPProbe, {"hidden": 7}),
    "attentive": (AttentiveProbe, {}),
    "prototypical": (PrototypicalProbe, {}),
    "protobin": (ProtobinProbe, {}),
    "cgp": (ConvexGatedProbe, {"prototypes": 5}),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    save_pretrained(BAT(dim=48, depth=2, heads=4, seconds=1.0), place / "encoder")
    (place / "wood").mkdir()
    noise = np.random.default_rng(0).normal(size=64_000)
    soundfile.write(place / "wood/a.wav", 0.1 * noise * np.linspace(0, 1, len(noise)), 16_000)
    return place


def fitted(place: Path, name: str) -> FittedProbe:
    encoder = create_model(f"local-dir:{place / 'encoder'}", pretrained=True)
    kind, head = HEADS[name]
    torch.manual_seed(1)
    return FittedProbe(kind(encoder, 3, **head).eval(), encoder, head, ["a", "b", "c"], 1.0, TaskKind.MULTI)


@pytest.mark.parametrize("name", HEADS)
def test_the_last_map_gives_of_the_table_what_the_probe_gives_of_the_sound(
    name: str, place: Path, tmp_path: Path
) -> None:
    probe = fitted(place, name)
    embed_recordings(ProbeInputs(probe), place / "wood", tmp_path / "inputs.parquet", workers=0)
    table = read_clips(tmp_path / "inputs.parquet")
    assert table.column == PROBE_INPUT
    heard = predict_file(probe, place / "wood/a.wav")
    assert shares_of(probe, table) == pytest.approx(heard.to_numpy(), abs=1e-5)
    assert np.ptp(heard.to_numpy(), axis=0).max() > 0


def test_a_probe_chooses_by_such_a_table_and_says_how_to_make_one(place: Path, tmp_path: Path) -> None:
    probe = fitted(place, "attentive")
    save_probe(probe, tmp_path / "probe")
    embed_recordings(probe.encoder, place / "wood", tmp_path / "plain.parquet", workers=0)
    loop = LoopSettings(strategy="margin", audit=0.0)
    settings = QueueSettings(tmp_path / "plain.parquet", 2, None, tmp_path / "probe", loop=loop)
    with pytest.raises(
        OscineError, match=r"reads patches of a clip, .* oscine embed FOLDER --probe PROBE --out TABLE writes"
    ):
        make_queue(settings)
    embed_recordings(ProbeInputs(probe), place / "wood", tmp_path / "inputs.parquet", workers=0)
    queue = make_queue(QueueSettings(tmp_path / "inputs.parquet", 2, None, tmp_path / "probe", loop=loop))
    assert len(queue.chosen) == 2
    other = fitted(place, "cgp")
    with pytest.raises(OscineError, match="holds what another probe's last map reads"):
        shares_of(other, queue.table)


def test_a_probe_that_answers_frame_by_frame_is_refused(place: Path) -> None:
    probe = fitted(place, "linear")
    framed = FittedProbe(
        LinearProbe(probe.encoder, 3, pool="frames"),
        probe.encoder,
        {"pool": "frames"},
        ["a", "b", "c"],
        1.0,
        TaskKind.FRAMES,
    )
    with pytest.raises(OscineError, match="answers frame by frame"):
        ProbeInputs(framed)
