"""What is built for an `Encoder` takes any, of oscine's own that have no patches to hide, and of kinds that it lacks."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from oscine.models.embed.embed import embed_file, embed_folder
from oscine.models.embed.extractor import EmbeddingExtractor
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.onnx_file import session_of
from oscine.models.encoders.bat import BAT
from oscine.models.errors import OscineError
from oscine.models.export.onnx import Head, export_onnx, onnx_bytes
from oscine.models.hear_api import HearModel, get_scene_embeddings, get_timestamp_embeddings
from oscine.models.plugins.classes import module_of, parameters_of
from oscine.models.zoo import create_model, register_encoder
from oscine.pretrain.bird_mae import BirdMAEPretraining
from oscine.probe.deploy.fitted_probe import ProbeFit, keep_probe
from oscine.probe.deploy.predict import predict_folder
from oscine.probe.deploy.saved_probe import load_probe, save_probe
from oscine.probe.features.embedding_table import read_embedded
from oscine.probe.features.encoding import Encoding, encode_task
from oscine.probe.features.store import open_store
from oscine.probe.finetune.finetune import FineTuning
from oscine.probe.finetune.settings import TuningSettings
from oscine.probe.fit.baselines import ALL_LAYERS
from oscine.probe.fit.judge import judge
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.attentive import AttentiveProbe
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.heads.probe import Needs
from oscine.probe.heads.prototypical import PrototypicalProbe
from oscine.probe.heads.registry import PROBES
from oscine.probe.metrics.bootstrap import Resampling
from oscine.probe.report.examples import Judged
from oscine.probe.report.page import probe_report
from oscine.probe.results.intervals import assess
from oscine.probe.tasks.task import Task
from tests.stand_in_encoders import DIM, RATE, STAND_INS, stand_in
from tests.tiny_encoders import noise, tiny_convnext

LAST = Needs(layers=[-1], parts=("cls", "patches", "pooled"))
STEP = FitSettings(steps=1, warmup=0, batch_size=4, lr=1e-2)
SMALL: dict[str, dict[str, Any]] = {
    "PrototypicalProbe": {"prototypes_per_class": 2},
    "ProtofloatProbe": {"prototypes": 6},
    "ProtobinProbe": {"prototypes": 6},
    "ConvexGatedProbe": {"prototypes": 6},
    "EfficientProbe": {"queries": 4},
}
# Oscine's own, of half a second at 8 kHz as the stand-ins are.
OWN: dict[str, Callable[[], Encoder]] = {
    "convnext": lambda: tiny_convnext(sample_rate=RATE, seconds=0.5, n_fft=512, hop=64, bands=64),
}
ALL_AT_ONCE = (
    "LayerGatedProbe",
    "Head2ToeProbe",
    "ConvexGatedProbe",
    "MultiLayerAttentionProbe",
)  # that read all layers side by side


@pytest.fixture(params=[*STAND_INS, *OWN])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    if request.param in STAND_INS:
        return stand_in(request.param)
    torch.manual_seed(0)
    return OWN[request.param]().eval()


def is_own(encoder: Encoder) -> bool:
    return module_of(type(encoder)) is None


def twin(encoder: Encoder, **changes: Any) -> Encoder:
    """With the same settings but for some, and with other weights."""
    return type(encoder)(**encoder.config | changes).eval()


def folder_of(task: Task) -> Path:
    return Path(task.rows["path"].iloc[0]).parent


def clips(encoder: Encoder, batch: int = 3) -> Tensor:
    return noise(batch, encoder.samples)


def one_line(error: pytest.ExceptionInfo[OscineError]) -> bool:
    return "\n" not in str(error.value)


# The encoder itself


def test_features_have_the_shapes_that_the_encoder_states(encoder: Encoder) -> None:
    features = encoder(clips(encoder))
    layers = encoder.depth if encoder.stacked else 1
    assert features.cls.shape == (layers, 3, encoder.dim)
    assert features.patches.shape == (layers, 3, *encoder.grid, encoder.dim)
    assert features.pooled.shape == (3, encoder.dim)
    assert encoder.samples == round(encoder.seconds * encoder.sample_rate)
    assert_close(features.cls, features.patches.mean((2, 3)))


def test_steps_of_time_lie_evenly_in_the_clip(encoder: Encoder) -> None:
    assert encoder.steps(encoder.samples) == encoder.grid[0]
    assert abs(encoder.grid[0] * encoder.step_seconds - encoder.seconds) < 1.01 * encoder.step_seconds


def test_what_is_prepared_gives_the_features_of_the_waveform(encoder: Encoder) -> None:
    waveform = clips(encoder)
    for made in (encoder.prepare(waveform), encoder.prepare_clips(list(waveform))):
        for one, other in zip(encoder.features(made), encoder(waveform), strict=True):
            assert_close(one, other)


def test_the_config_is_what_the_constructor_was_called_with(encoder: Encoder) -> None:
    assert encoder.config["sample_rate"] == RATE
    other = twin(encoder, sample_rate=16_000)
    assert other.config == encoder.config | {"sample_rate": 16_000}
    again = type(encoder)(**json.loads(json.dumps(encoder.config)))
    again.load_state_dict(encoder.state_dict())
    assert again.config == encoder.config
    assert torch.equal(again.eval()(clips(encoder)).pooled, encoder(clips(encoder)).pooled)


def test_a_subclass_has_the_config_of_its_own_constructor() -> None:
    class Same(BAT):
        pass

    class Narrow(BAT):
        def __init__(self, depth: int = 1) -> None:
            super().__init__(dim=16, depth=depth, heads=2, seconds=0.5)

    class Open(BAT):
        def __init__(self, extra: int = 7, **sizes: Any) -> None:
            super().__init__(**sizes)

    assert Same(16, depth=1, heads=2).config == BAT(16, 1, 2).config
    assert list(parameters_of(Same)) == list(BAT().config) == list(inspect.signature(BAT).parameters)
    assert Narrow(2).config == {"depth": 2}
    assert Open(dim=16, heads=2).config == {"extra": 7, "dim": 16, "heads": 2}
    for encoder in (Narrow(2), Open(dim=16, heads=2, depth=1), copy.deepcopy(Narrow(2))):
        assert type(encoder)(**encoder.config).config == encoder.config
    with pytest.raises(TypeError, match="unexpected keyword argument 'width'"):
        BAT(width=3)  # type: ignore[call-arg]


def test_a_clip_does_not_depend_on_its_batch(encoder: Encoder) -> None:
    first, second, third = clips(encoder).split(1)
    for one, other, alone in zip(
        encoder(torch.cat([first, second * 1e-4])).take(slice(1)),
        encoder(torch.cat([first, third * 9])).take(slice(1)),
        encoder(first),
        strict=True,
    ):
        assert_close(one, other, atol=1e-5, rtol=0)
        assert_close(one, alone, atol=1e-5, rtol=0)


def test_clips_of_several_lengths_are_filled_up_each_by_itself(encoder: Encoder) -> None:
    waveforms = [noise(length) for length in (encoder.samples, 700, 30)]
    together = encoder(waveforms)
    for number, waveform in enumerate(waveforms):
        assert_close(together.pooled[number], encoder([waveform]).pooled[0], atol=1e-5, rtol=0)
    assert together.patches.shape[2:4] == encoder.grid


@pytest.mark.parametrize("share", [0.7, 2])
def test_another_length_is_taken_or_refused_in_a_line(encoder: Encoder, share: float) -> None:
    samples = round(share * encoder.samples)
    if encoder.any_length or share < 1:
        assert encoder(noise(2, samples)).patches.shape[2] == encoder.steps(samples)
    else:
        with pytest.raises(OscineError, match=rf"waveform has {samples} samples.* have {encoder.samples}; split_clips"):
            encoder(noise(2, samples))
        with pytest.raises(OscineError, match=r"clips of 1 s were asked for, those of \w+ have 0\.5 s; ask for 0\.5 s"):
            encoder.steps(samples)


def test_layers_that_differ_are_had_one_at_a_time(encoder: Encoder) -> None:
    waveform = clips(encoder)
    for layer in range(encoder.depth):
        assert len(encoder(waveform, layers=[layer]).patches) == 1
    if encoder.stacked:
        assert len(encoder(waveform, layers=None).patches) == encoder.depth
    else:
        assert encoder(waveform, layers=[0]).patches.shape[-1] < encoder.dim
        with pytest.raises(OscineError, match=r"layers 0, 2 of Stages differ in width.*one at a time"):
            encoder(waveform, layers=[0, -1])
    with pytest.raises(OscineError, match=r"layer 7 of an encoder with"):
        encoder(waveform, layers=[7])


def test_a_picture_shows_the_whole_clip(encoder: Encoder) -> None:
    spectrogram, mel_scale = encoder.picture(noise(1000), encoder.samples)
    assert spectrogram.shape[1] == mel_scale.bands
    assert len(spectrogram) * mel_scale.frame_seconds == pytest.approx(encoder.seconds, abs=0.03)


def test_a_size_that_cannot_be_is_refused() -> None:
    for kind in STAND_INS.values():
        with pytest.raises(OscineError, match="expected all above 0"):
            kind(seconds=0.0)  # type: ignore[call-arg]


def test_a_recipe_for_patches_says_which_encoder_it_takes(encoder: Encoder) -> None:
    with pytest.raises(OscineError, match=rf"takes a BirdMAE, not a {type(encoder).__name__}"):
        BirdMAEPretraining(encoder)  # type: ignore[arg-type]


# What is built for it


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_that_fits_learns_a_step_and_the_others_refuse_in_a_line(
    name: str, encoder: Encoder, task: Task
) -> None:
    make = partial(PROBES[name], encoder, len(task.classes), **SMALL.get(name, {}))
    if name in ALL_AT_ONCE and not encoder.stacked:
        with pytest.raises(OscineError, match=f"{name} reads all layers side by side.*differ in width") as error:
            make()
        assert one_line(error)
        return
    if PROBES[name].spatial and not encoder.spatial:
        with pytest.raises(
            OscineError, match=f"{name} compares the patches.*has one vector a clip.*LinearProbe"
        ) as error:
            make()
        assert one_line(error)
        return
    judgement = judge(make, encode_task(encoder, task, make().needs), task, STEP)
    assert all(logits.shape == (len(part.test), 2) for logits, part in zip(judgement.logits, task.parts, strict=True))
    assert all(logits.isfinite().all() for logits in judgement.logits)


@pytest.mark.parametrize(("dim", "heads"), [(DIM, 1), (64, 1), (768, 12), (160, 2), (1000, 10)])
def test_attention_has_the_usual_number_of_heads_where_the_encoder_has_none(dim: int, heads: int) -> None:
    assert AttentiveProbe(STAND_INS["frames"](dim=dim, depth=1), 2).heads == heads  # type: ignore[call-arg]


def test_a_store_has_the_numbers_that_encoding_gives(encoder: Encoder, task: Task, tmp_path: Path) -> None:
    usual = encode_task(encoder, task, LAST)
    kept = open_store(Encoding(encoder, task, LAST, batch_size=3), tmp_path).take(torch.arange(len(task.rows)))
    for one, other in zip(kept, usual, strict=True):
        assert_close(one, other, atol=1e-3, rtol=1e-3)
    again = open_store(Encoding(encoder, task, LAST, batch_size=3), tmp_path).take(torch.arange(len(task.rows)))
    assert torch.equal(again.patches, kept.patches)


def test_features_of_all_layers_are_refused_where_they_differ(encoder: Encoder, task: Task) -> None:
    if encoder.stacked:
        assert len(encode_task(encoder, task, ALL_LAYERS).cls) == encoder.depth
    else:
        with pytest.raises(OscineError, match="features of all layers were asked for, those of Stages differ") as error:
            encode_task(encoder, task, ALL_LAYERS)
        assert one_line(error)


def test_clips_of_another_length_are_encoded_or_refused(encoder: Encoder, task: Task) -> None:
    if encoder.any_length:
        assert encode_task(encoder, task, LAST, seconds=0.8).patches.shape[2] == encoder.steps(6400)
    else:
        with pytest.raises(OscineError, match=r"clips of 0\.8 s were asked for") as error:
            encode_task(encoder, task, LAST, seconds=0.8)
        assert one_line(error)


def test_a_table_of_embeddings_is_made_and_read(encoder: Encoder, task: Task, tmp_path: Path) -> None:
    table = tmp_path / "table.parquet"
    embed_folder(EmbeddingExtractor(encoder, [-1], ("pooled", "cls", "mean")), folder_of(task), table, workers=0)
    needs = Needs(layers=[-1], parts=("mean", "pooled"))
    read, usual = read_embedded(table, encoder, task, needs), encode_task(encoder, task, needs)
    assert_close(read.pooled, usual.pooled, atol=1e-5, rtol=0)
    assert_close(read.patches, usual.patches, atol=1e-5, rtol=0)
    assert embed_file(encoder, task.rows["path"].iloc[0]).shape == (1, encoder.dim)


def test_a_table_has_no_layer_of_another_width() -> None:
    with pytest.raises(
        OscineError, match=r"layers 0: those of Stages differ in width.*last one alone, 2; leave"
    ) as error:
        EmbeddingExtractor(stand_in("stages"), [0], ("mean",))
    assert one_line(error)


def fit_of(encoder: Encoder, task: Task, kind: Any = LinearProbe, **head: Any) -> ProbeFit:
    make = partial(kind, encoder, len(task.classes), **head)
    return ProbeFit(make, head, encoder, encode_task(encoder, task, make().needs), task, STEP)


@pytest.mark.parametrize("pool", ["mean", "frames"])
def test_a_fitted_probe_is_saved_loaded_and_predicts(encoder: Encoder, task: Task, tmp_path: Path, pool: str) -> None:
    fit = fit_of(encoder, task, pool="mean")
    fitted = keep_probe(fit, fit.judge())
    fitted = replace(fitted, probe=LinearProbe(encoder, 2, pool).eval(), head={"pool": pool})
    save_probe(fitted, tmp_path / "probe", with_encoder=True)
    loaded = load_probe(tmp_path / "probe", encoder)
    assert (tmp_path / "probe/encoder/config.json").is_file()
    summary = predict_folder(loaded, folder_of(task), tmp_path / "out.parquet", workers=0)
    rows = pd.read_parquet(tmp_path / "out.parquet")
    assert (rows[["high", "low"]].sum(axis=1) - 1).abs().max() < 1e-5
    assert summary.files == 12
    whole = rows[rows["file"] == "0.wav"]
    assert len(whole) == (encoder.grid[0] if pool == "frames" else 1)
    with pytest.raises(OscineError, match="encoder has another fingerprint"):
        load_probe(tmp_path / "probe", twin(encoder))


def test_registered_it_is_loaded_by_name_and_with_its_probe(
    encoder: Encoder, task: Task, tmp_path: Path, door: None
) -> None:
    if not is_own(encoder):
        register_encoder(type(encoder))
    fit = fit_of(encoder, task, pool="mean")
    save_probe(keep_probe(fit, fit.judge()), tmp_path / "probe", with_encoder=True)
    loaded = load_probe(tmp_path / "probe")
    again = create_model(f"local-dir:{tmp_path / 'probe/encoder'}")
    for one in (loaded.encoder, again):
        assert (type(one), one.config) == (type(encoder), encoder.config)
        assert torch.equal(one(clips(encoder)).pooled, encoder(clips(encoder)).pooled)


def test_a_report_is_drawn(encoder: Encoder, task: Task) -> None:
    kinds: list[tuple[Any, dict[str, Any]]] = [(LinearProbe, {"pool": "bands"})]
    kinds += [(PrototypicalProbe, {"prototypes_per_class": 2})] if encoder.spatial else []
    for kind, head in kinds:
        fit = fit_of(encoder, task, kind, **head)
        judgement = fit.judge()
        evidence = assess(judgement, task, Resampling(20))
        judged = Judged(encoder, task, judgement, fit.features)
        page = probe_report("run", judged, evidence).html()
        assert "Predictions as sums" in page
        assert page.count("data:image/") >= 3


def test_hears_vectors_are_made(encoder: Encoder) -> None:
    model = HearModel(encoder)
    sounds = noise(2, 2 * model.sample_rate)
    assert get_scene_embeddings(sounds, model).shape == (2, encoder.dim)
    vectors, times = get_timestamp_embeddings(sounds, model)
    assert vectors.shape == (*times.shape, encoder.dim)
    assert vectors.isfinite().all()


def test_it_is_exported_or_refused_in_a_line(encoder: Encoder, task: Task, tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    if not encoder.exportable:
        with pytest.raises(OscineError, match=r"File cannot be written as an ONNX file.*run it in Python") as error:
            export_onnx(encoder, path)
        assert one_line(error)
        return
    probe = LinearProbe(encoder, 2, "mean").eval()
    export_onnx(encoder, path, head=Head(probe, [-1], task.classes, encoder.samples, {}))
    embedding, logits = session_of(str(path)).run(None, {"waveform": clips(encoder).numpy()})
    features = encoder(clips(encoder), layers=[-1])
    assert_close(torch.from_numpy(embedding), features.pooled, atol=1e-4, rtol=0)
    assert_close(torch.from_numpy(logits), probe(features), atol=1e-4, rtol=0)


def test_what_the_exporter_cannot_follow_is_a_line() -> None:
    encoder = stand_in("file")
    encoder.exportable = True
    with pytest.raises(
        OscineError, match=r"File cannot be written as an ONNX file: PyTorch does not follow it \("
    ) as error:
        onnx_bytes(encoder)
    assert one_line(error)


def tuning_of(encoder: Encoder, task: Task, **tuning: Any) -> FineTuning:
    make = partial(LinearProbe, encoder, len(task.classes), pool="mean")
    return FineTuning(make, encoder, task, STEP, TuningSettings(**tuning), batch_size=4)


def test_an_encoder_that_can_learn_is_fine_tuned(encoder: Encoder, task: Task) -> None:
    if not encoder.trainable:
        pytest.skip("it cannot learn, which is refused below")
    masks = 1.0 if encoder.spectral else 0.0
    states: dict[str, Any] = {}
    plan = tuning_of(encoder, task, drop_path=0.0, masks=masks, mixup=0.5, noise=0.5)
    judgement = plan.judge(states)
    assert all(logits.isfinite().all() for logits in judgement.logits)
    learnt = plan.first_encoder(states).state_dict()
    changed = {name for name, weight in encoder.state_dict().items() if not torch.equal(weight, learnt[name])}
    assert any(name.startswith(encoder.block_path) for name in changed)


@pytest.mark.parametrize(
    ("kind", "tuning", "words"),
    [
        ("file", {}, "File cannot be fine-tuned: no gradients reach its weights; take a CONFIG for a frozen"),
        ("frames", {}, r"tuning\.drop_path is 0\.1, but Frames has no paths to drop; give --tuning\.drop_path 0"),
        ("frames", {"drop_path": 0.0, "masks": 1.0}, r"tuning\.masks is 1, but Frames computes on no spectrogram"),
    ],
)
def test_fine_tuning_that_cannot_be_is_refused_in_a_line(
    kind: str, tuning: dict[str, Any], words: str, task: Task
) -> None:
    with pytest.raises(OscineError, match=words) as error:
        tuning_of(stand_in(kind), task, **tuning)
    assert one_line(error)


def test_learning_rates_that_decay_need_layers_to_decay_by(task: Task) -> None:
    encoder = stand_in("stages")
    encoder.block_path = "blocks"
    with pytest.raises(OscineError, match=r"layer_decay is 0\.75, but Stages has no layers below 'blocks'"):
        tuning_of(encoder, task, drop_path=0.0)
    tuning_of(encoder, task, drop_path=0.0, layer_decay=1.0)
