"""HEAR's common API: what its validator checks, and that the vectors are those of the encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
from torch import Tensor

from oscine.models import hear_api
from oscine.models.errors import OscineError
from oscine.models.hear_api import HearModel, get_scene_embeddings, get_timestamp_embeddings, hear_rate, load_model
from oscine.models.hub.folder import save_pretrained
from tests.tiny_encoders import DIM, TINY, noise, shaken

TOLERANCE = 2e-5


@pytest.fixture(params=TINY)
def model(request: pytest.FixtureRequest) -> HearModel:
    return HearModel(shaken(request.param))


def sounds(model: HearModel, seconds: float, batch: int = 2) -> Tensor:
    return noise(batch, round(seconds * model.sample_rate))


def converted(model: HearModel, audio: Tensor) -> Tensor:
    if model.sample_rate == model.encoder.sample_rate:
        return audio
    rates = model.sample_rate, model.encoder.sample_rate
    return torch.stack([torch.from_numpy(soxr.resample(sound, *rates, quality="HQ")) for sound in audio.numpy()])


def test_the_model_has_the_attributes_that_hear_reads(model: HearModel) -> None:
    assert isinstance(model, torch.nn.Module)
    assert model.sample_rate in (16000, 22050, 44100, 48000)
    assert (model.scene_embedding_size, model.timestamp_embedding_size) == (DIM, DIM)
    assert type(model.sample_rate) is type(model.scene_embedding_size) is type(model.timestamp_embedding_size) is int


@pytest.mark.parametrize("seconds", [0.01, 0.07, 0.5, 1.0, 2.0, 3.74])
def test_sounds_of_any_length_have_vectors_of_the_said_size_at_regular_moments(
    model: HearModel, seconds: float
) -> None:
    audio = sounds(model, seconds, batch=3)
    scenes = get_scene_embeddings(audio, model)
    assert (scenes.shape, scenes.dtype) == ((3, DIM), torch.float32)
    vectors, moments = get_timestamp_embeddings(audio, model)
    assert vectors.dtype == torch.float32
    assert vectors.shape == (*moments.shape, DIM)
    assert len(vectors) == 3
    assert bool(torch.isfinite(vectors).all())
    steps = moments.diff(dim=1)
    assert ((steps - 40).abs() < 1e-3).all()
    assert (moments[:, 0] == 80).all()
    assert moments.max() <= max(80, 1000 * seconds)
    assert moments.max() > 1000 * seconds - 41
    assert not vectors.requires_grad
    assert not scenes.requires_grad


def test_a_scene_is_the_mean_of_its_clips_by_their_length(model: HearModel) -> None:
    encoder = model.encoder
    audio = sounds(model, 2.5 * encoder.seconds)
    waveform = converted(model, audio)
    cut = waveform.split(encoder.samples, dim=1)
    assert len(cut) == 3
    with torch.no_grad():
        vectors = [encoder(list(clip)).pooled * clip.shape[1] for clip in cut]
    expected = torch.stack(vectors).sum(0) / waveform.shape[1]
    torch.testing.assert_close(get_scene_embeddings(audio, model), expected, rtol=0, atol=TOLERANCE)


def test_a_moment_is_the_patch_whose_middle_it_is(model: HearModel) -> None:
    encoder = model.encoder
    vectors, moments = get_timestamp_embeddings(audio := sounds(model, encoder.seconds), model)
    waveform = converted(model, audio)
    patch = encoder.step_seconds
    whole = int(encoder.seconds / patch + 1e-6)  # patches in the first clip
    with torch.no_grad():
        for shift in range(4):
            later = waveform[:, round(shift * 0.04 * encoder.sample_rate) :]
            rows = encoder(list(later)).patches[-1].mean(2)
            of_shift = vectors[:, shift::4][:, :whole]
            assert of_shift.shape[1] >= whole - 1 >= 5
            torch.testing.assert_close(of_shift, rows[:, : of_shift.shape[1]], rtol=0, atol=TOLERANCE)
            middles = 1000 * (shift * 0.04 + patch * (torch.arange(of_shift.shape[1]) + 0.5))
            torch.testing.assert_close(moments[0, shift::4][:whole], middles)


def test_a_click_is_found_where_it_is() -> None:
    """The patches that change most are those around it, also beyond the first clip."""
    model = HearModel(shaken("EAT"))
    audio = sounds(model, 3.0, batch=1)
    clicked = audio.clone()
    clicked[:, round(2.02 * model.sample_rate)] = 1.0
    (quiet, moments), (loud, _) = (get_timestamp_embeddings(one, model) for one in (audio, clicked))
    changed = (loud - quiet).norm(dim=2)[0]
    assert abs(moments[0, changed.argmax()].item() - 2020) <= 80 + 40
    assert changed[moments[0] < 900].max() == 0


def test_no_sound_depends_on_the_others(model: HearModel, monkeypatch: pytest.MonkeyPatch) -> None:
    audio = sounds(model, 1.3, batch=3)
    together = get_scene_embeddings(audio, model), get_timestamp_embeddings(audio, model)[0]
    monkeypatch.setattr(hear_api, "BATCH", 2)
    alone = get_scene_embeddings(audio, model), get_timestamp_embeddings(audio, model)[0]
    for one, other in zip(together, alone):
        torch.testing.assert_close(one, other, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(get_scene_embeddings(audio[1:2], model), together[0][1:2], rtol=0, atol=TOLERANCE)


def test_the_mode_of_the_model_is_left_as_it_was(model: HearModel) -> None:
    model.train()
    audio = sounds(model, 0.5)
    get_scene_embeddings(audio, model)
    assert model.encoder.training
    first, second = (get_timestamp_embeddings(audio, model)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("own", "hear"), [(16000, 16000), (32000, 48000), (48000, 48000), (22050, 22050), (24000, 48000), (250000, 48000)]
)
def test_the_rate_is_one_of_hears_that_converts_easily(own: int, hear: int) -> None:
    assert hear_rate(own) == hear


def test_without_a_name_the_encoder_of_oscine_is_loaded() -> None:
    model = load_model("")
    assert (model.encoder.provenance or {})["model"] == "bird_mae_tiny.esc10"
    assert (model.sample_rate, model.scene_embedding_size) == (48000, 192)
    assert torch.equal(load_model().encoder.cls_token, model.encoder.cls_token)


def test_a_folder_or_its_weights_are_loaded(tmp_path: Path) -> None:
    encoder = shaken("BAT")
    save_pretrained(encoder, tmp_path)
    for name in (str(tmp_path), tmp_path / "model.safetensors", f"local-dir:{tmp_path}"):
        assert torch.equal(load_model(name).encoder.cls_token, encoder.cls_token)
    with pytest.raises(OscineError, match=r"config\.json is no model\.safetensors; give the folder of a saved encoder"):
        load_model(tmp_path / "config.json")
    with pytest.raises(OscineError, match="no model 'bird_mea'"):
        load_model("bird_mea")


def test_sounds_that_are_no_batch_are_refused(model: HearModel) -> None:
    for call in (get_scene_embeddings, get_timestamp_embeddings):
        with pytest.raises(OscineError, match=r"expected \[batch, samples\]; for one clip pass waveform\[None\]"):
            call(noise(1000), model)


def test_a_tone_is_heard_at_the_pitch_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resampled as `load_audio` does it: a tone at 48 kHz has the vector of the tone at 32 kHz."""
    encoder = shaken("BirdMAE")
    tones = [np.sin(2 * np.pi * 3000 * np.arange(rate) / rate).astype(np.float32) for rate in (48000, 32000)]
    heard = get_scene_embeddings(torch.from_numpy(tones[0])[None], HearModel(encoder))
    with torch.no_grad():
        expected = encoder(torch.from_numpy(tones[1])[None]).pooled
    assert torch.nn.functional.cosine_similarity(heard, expected).item() > 0.999
