"""Fine-tuning: an encoder that learns with its probe."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from timm.layers import DropPath
from torch import Tensor, nn

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.fingerprint import fingerprint
from oscine.models.encoders.base.layers import PostNormBlock
from oscine.models.encoders.base.provenance import Origin
from oscine.models.errors import OscineError
from oscine.models.zoo import create_model
from oscine.probe.deploy.saved_probe import load_probe, save_probe
from oscine.probe.features.encoding import encode_task
from oscine.probe.finetune.clips import TrainingClips
from oscine.probe.finetune.finetune import FineTuning
from oscine.probe.finetune.learner import Learner, rebuilt
from oscine.probe.finetune.run_states import TuningStates
from oscine.probe.finetune.settings import TuningSettings
from oscine.probe.fit.judge import judge, score
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.heads.probe import Probe
from oscine.probe.heads.registry import PROBES
from oscine.probe.tasks.task import Part, Task
from tests.forked import Program
from tests.tiny_encoders import DEPTH, TINY, TRAINED_POSITIONS, noise, shaken

RATE = 16_000
FIT = FitSettings(steps=6, warmup=2, batch_size=4, lr=1e-3)
ALL = TuningSettings(
    mix=0.5,
    mixup=0.5,
    noise=0.5,
    hiss=0.01,
    loudness=True,
    gain=0.5,
    masks=1.5,
    time_mask=10,
    freq_mask=10,
    save_every=2,
)


def write_tones(folder: Path, rows: int) -> Task:
    """Low and high tones, in two folds."""
    rng = np.random.default_rng(0)
    time = np.arange(RATE // 2) / RATE
    for row in range(rows):
        tone = np.sin(2 * np.pi * (3000 if row % 2 else 500) * rng.uniform(0.8, 1.2) * time)
        soundfile.write(folder / f"{row}.wav", rng.uniform(0.1, 0.3) * tone + rng.normal(0, 0.003, len(time)), RATE)
    numbers = torch.arange(rows)
    parts = [
        Part(f"fold {fold}", numbers[numbers % 4 // 2 != fold], numbers[numbers % 4 // 2 == fold]) for fold in (0, 1)
    ]
    paths = pd.DataFrame({"path": [str(folder / f"{row}.wav") for row in range(rows)]})
    return Task(paths, ["high", "low"], numbers % 2, parts)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return write_tones(tmp_path_factory.mktemp("tones"), 16)


def plan(task: Task, encoder: Encoder | None = None, tuning: TuningSettings = ALL, **settings: Any) -> FineTuning:
    encoder = encoder or shaken("BAT")
    make_probe = partial(LinearProbe, encoder, len(task.classes), pool="mean", dropout=0.3)
    return FineTuning(make_probe, encoder, task, replace(FIT, **settings), tuning, seconds=0.5, batch_size=4)


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize("name", TINY)
def test_the_encoder_that_is_given_stays_as_it_is(name: str, task: Task) -> None:
    encoder = shaken(name)
    before = copy.deepcopy(encoder.state_dict())
    random = torch.get_rng_state()
    states: dict[str, Any] = {}
    fine = plan(task, encoder)
    found = fine.judge(states)
    assert same(list(before.values()), list(encoder.state_dict().values()))
    assert not encoder.training
    assert torch.equal(random, torch.get_rng_state())
    tuned = fine.first_encoder(states)
    assert tuned.config == encoder.config, "drop path ends with training"
    assert not tuned.training
    moved = {key for key, tensor in tuned.state_dict().items() if not torch.equal(tensor, before[key])}
    assert any("patch_embed" in key for key in moved)
    assert ("pos_embed" in moved) == (name in TRAINED_POSITIONS)
    assert [metrics.rows for metrics in found.metrics] == [8, 8]


def test_every_part_begins_with_the_same_weights(task: Task) -> None:
    forwards = plan(task).judge({})
    turned = replace(task, parts=task.parts[::-1])
    backwards = plan(turned).judge({})
    assert same(forwards.logits, backwards.logits[::-1])
    assert not torch.equal(forwards.logits[0], forwards.logits[1])


def test_the_same_call_gives_the_same_bits_whatever_the_workers_and_another_seed_others(task: Task) -> None:
    first, workers, other = (
        made.judge({}) for made in (plan(task), replace(plan(task), workers=1), plan(task, seed=1))
    )
    assert same(first.logits, workers.logits)
    assert not torch.equal(first.logits[0], other.logits[0])


def test_drop_path_rises_from_block_to_block_while_learning_alone(task: Task) -> None:
    encoder = shaken("BirdMAE")
    learner = plan(task, encoder, TuningSettings(drop_path=0.4)).begin()

    def rates(of: nn.Module) -> list[float]:
        return [module.drop_prob for module in of.modules() if isinstance(module, DropPath) and module.drop_prob]

    assert rates(learner.encoder) == pytest.approx([0.2, 0.2, 0.4, 0.4]), f"0 in the first of {DEPTH} blocks"
    assert not rates(encoder)
    spectrogram = noise(2, 112, 128)
    draws = [learner.train()(spectrogram) for _ in range(4)]
    assert not all(torch.equal(draws[0], draw) for draw in draws)
    frozen = encoder.features(spectrogram, [-1])
    learner.eval()
    assert torch.equal(learner.encoder.features(spectrogram, [-1]).patches, frozen.patches)
    assert learner.encoder.state_dict().keys() == encoder.state_dict().keys()


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_teaches_the_encoder(name: str) -> None:
    """The gradient is the slope of the loss along it."""
    torch.manual_seed(0)
    encoder = rebuilt(shaken("BAT"))
    head = {"EfficientProbe": {"queries": 4}}.get(name, {})
    learner = Learner(encoder, PROBES[name](encoder, 3, **head)).eval()
    spectrogram, direction = noise(4, 112, 128), noise(4, 3, seed=1)
    weights = [parameter for parameter in encoder.parameters() if parameter.requires_grad]

    def loss() -> Tensor:
        return (learner(spectrogram) * direction).sum()

    gradients = torch.autograd.grad(loss(), weights, allow_unused=True)
    norm = torch.stack([one.square().sum() for one in gradients if one is not None]).sum().sqrt()
    assert norm > 0

    @torch.no_grad()
    def after(step: float) -> float:
        for weight, gradient in zip(weights, gradients):
            if gradient is not None:
                weight.add_(step / norm * gradient)
        return loss().item()

    width = 1e-3
    up = after(width)
    slope = (up - after(-2 * width)) / (2 * width)
    assert slope == pytest.approx(norm.item(), rel=0.05)


def test_a_run_that_is_stopped_anywhere_goes_on_and_ends_with_the_same_bits(task: Task, tmp_path: Path) -> None:
    whole, states = plan(task), TuningStates(tmp_path / "whole", {})
    expected = whole.judge(states)
    kept = whole.final_probe(expected, {"pool": "mean"}, states)

    class Stop(Exception):
        pass

    def stopping(after: int) -> Callable[[int, int, str], None]:
        calls = iter(range(after))

        def progress(done: int, total: int, note: str) -> None:
            if next(calls, None) is None:
                raise Stop

        return progress

    for after in (1, 3, 5, 8, 11):
        folder = tmp_path / str(after)
        states = TuningStates(folder, {})
        with pytest.raises(Stop):
            plan(task).judge(states, stopping(after))
        states.lock.close()
        states = TuningStates(folder, {}, resume=True)
        assert same(plan(task).judge(states).logits, expected.logits), after
    with pytest.raises(Stop):
        plan(task).final_probe(expected, {"pool": "mean"}, states, progress=stopping(3))
    again = plan(task).final_probe(expected, {"pool": "mean"}, states)
    assert fingerprint(again.encoder) == fingerprint(kept.encoder)
    assert again.describe() == kept.describe()
    states.end()
    assert not folder.exists()


def test_states_are_gone_on_with_in_the_same_settings_alone(tmp_path: Path) -> None:
    folder = tmp_path / "states"
    with pytest.raises(OscineError, match=r"nothing to resume: no .*settings.json; leave out --resume to begin"):
        TuningStates(folder, {}, resume=True)
    states = TuningStates(folder, {"fit.lr": 0.1, "head.pool": "cls"})
    states["0"] = {"steps": 3}
    with pytest.raises(OscineError, match=r"process \d+ on .* is fine-tuning"):
        _in_another_process(folder)
    states.lock.close()
    with pytest.raises(OscineError, match="has not ended; --resume goes on, --overwrite begins anew"):
        TuningStates(folder, {"fit.lr": 0.1, "head.pool": "cls"})
    with pytest.raises(OscineError, match=r"was begun with fit.lr 0.1, not 0.2; head.pool 'cls', not None; give those"):
        TuningStates(folder, {"fit.lr": 0.2}, resume=True)
    again = TuningStates(folder, {"fit.lr": 0.1, "head.pool": "cls"}, resume=True)
    assert again["0"] == {"steps": 3}
    assert "1" not in again
    assert list(again) == ["0"]
    again.lock.close()
    anew = TuningStates(folder, {"fit.lr": 0.2}, overwrite=True)
    assert not list(anew)
    anew.path("0").write_bytes(b"torn")
    assert "0" in anew
    with pytest.raises(OscineError, match=r"0.pt is torn: .*; --overwrite begins anew"):
        anew.get("0")
    anew.lock.close()
    assert not list(TuningStates(folder, {"fit.lr": 0.2}, overwrite=True)), "also what cannot be read"


def test_the_best_step_is_kept_with_the_weights_that_a_fit_up_to_it_has(task: Task) -> None:
    """Of labels that are dealt at random, so that learning for longer is not better."""
    with pytest.raises(OscineError, match="has no rows to choose by"):
        plan(task, select_every=2)
    part = Part("test", torch.arange(6), torch.arange(14, 16), torch.arange(6, 14))
    shuffled = torch.randint(2, (16,), generator=torch.Generator().manual_seed(1))
    split = replace(task, targets=shuffled, parts=[part])
    chosen = plan(split, select_every=2, lr=1e-2, steps=12).judge({})
    plain, values = plan(split, lr=1e-2, steps=12), []
    for steps in range(2, 13, 2):
        learner, _ = plain.learn(part, "0", {}, steps=steps)
        answers = plain.predict(learner, part.valid)
        values.append(score(answers, shuffled[part.valid]).accuracy)
        if steps == chosen.steps[0]:
            assert torch.equal(answers, chosen.valid_logits[0])
            assert same(list(learner.probe.state_dict().values()), list(chosen.probes[0].state_dict().values()))
    assert chosen.steps[0] == 2 * (1 + values.index(max(values))), "the first of the best"
    assert len(set(values)) > 1, "a choice was made"
    assert chosen.steps[0] < 12


def test_judged_rows_do_not_choose_the_best_step(task: Task) -> None:
    part = Part("test", torch.arange(6), torch.arange(14, 16), torch.arange(6, 14))
    split = replace(task, parts=[part])
    other = task.targets.clone()
    other[part.test] = 1 - other[part.test]
    one, two = (plan(replace(split, targets=given), select_every=2).judge({}) for given in (task.targets, other))
    assert one.metrics != two.metrics
    assert one.steps == two.steps
    assert torch.equal(one.logits[0], two.logits[0])


def test_what_learnt_is_kept_with_its_encoder_and_says_with_whose_it_began(task: Task, tmp_path: Path) -> None:
    torch.manual_seed(0)
    begun = create_model("bat_tiny", dim=24, depth=2, heads=2, seconds=0.6)
    begun.provenance = {"model": "bat_base.as2m", "repository": "some/one", "revision": "abc", "sha256": "0"}
    begun.origin = Origin(
        "bat_base.as2m", "model.safetensors", "0", "MIT", "some/one", "abc", False, fingerprint(begun)
    )
    fine, states = plan(task, begun), TuningStates(tmp_path / "states", {})
    judgement = fine.judge(states)
    fitted = fine.final_probe(judgement, {"pool": "mean"}, states, name="tones")
    assert fitted.encoder.provenance is None
    assert fitted.thresholds is not None
    assert fitted.fitted_on["finetuned"]["layer_decay"] == 0.75
    assert fitted.fitted_on["task"] == "tones"
    loaded = load_probe(save_probe(fitted, tmp_path / "probe"))
    assert loaded.encoder.origin is not None
    assert (loaded.encoder.origin.licence, loaded.encoder.origin.trained) == ("MIT", True)
    assert torch.equal(loaded(noise(2, 8000)), fitted(noise(2, 8000)))
    assert not torch.equal(begun(noise(2, 8000)).pooled, fitted.encoder(noise(2, 8000)).pooled)


def test_of_a_split_the_judged_one_is_kept(task: Task) -> None:
    split = replace(task, parts=task.parts[:1])
    fine, states = plan(split), {}
    judgement = fine.judge(states)
    fitted = fine.final_probe(judgement, {"pool": "mean"}, states)
    learner = Learner(fitted.encoder, fitted.probe)
    assert torch.equal(fine.predict(learner, split.parts[0].test), judgement.logits[0])
    assert fitted.thresholds is None


def test_where_features_have_to_change_fine_tuning_learns_more_than_a_frozen_probe(task: Task) -> None:
    torch.manual_seed(0)
    encoder = TINY["BAT"]()
    last = cast(PostNormBlock, encoder.blocks[-1])
    nn.init.zeros_(last.norm2.weight)  # whatever is heard, the features are the same
    fit = FitSettings(steps=20, warmup=2, batch_size=8, lr=3e-3)
    make_probe: Callable[[], Probe] = partial(LinearProbe, encoder, 2, pool="bands")
    features = encode_task(encoder, task, make_probe().needs, 0.5)
    frozen = judge(make_probe, features, task, fit).summary("accuracy")[0]
    tuned = FineTuning(make_probe, encoder, task, fit, TuningSettings(), 0.5, 16).judge({}).summary("accuracy")[0]
    assert frozen == 0.5
    assert tuned > 0.9


def test_a_loss_that_is_no_number_names_its_clips_and_spoils_no_state(task: Task) -> None:
    states: dict[str, Any] = {}
    wild = plan(task, lr=1e30, tuning=replace(ALL, save_every=1))
    with pytest.raises(OscineError, match=r"the loss is .*nan at step [2-6], of .*wav.*; leave out what is broken, or"):
        wild.judge(states)
    assert "0" not in states


def test_a_recording_that_cannot_be_read_is_named(task: Task, tmp_path: Path) -> None:
    (tmp_path / "torn.wav").write_bytes(b"no sound")
    rows = task.rows.copy()
    rows.loc[3, "path"] = str(tmp_path / "torn.wav")
    for workers in (0, 1):
        with pytest.raises(OscineError, match=r"torn.wav: "):
            replace(plan(replace(task, rows=rows)), workers=workers).judge({})


def test_backgrounds_are_read_from_anywhere_in_their_recordings(task: Task, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.linspace(-0.9, 0.9, 5 * RATE), RATE, subtype="FLOAT")
    clips = TrainingClips(task, RATE, 0.5, 0, [tmp_path / "long.wav"])
    heard = [clips.stretch(0.0, place) for place in (0.0, 0.5, 0.999)]
    assert [round(float(one.mean()), 1) for one in heard] == [-0.8, 0.0, 0.8]
    (tmp_path / "long.wav").unlink()
    soundfile.write(tmp_path / "short.wav", np.full(RATE // 8, 0.5), RATE, subtype="FLOAT")
    again = TrainingClips(task, RATE, 0.5, 0, [tmp_path / "short.wav"]).stretch(0.0, 0.7)
    assert again.shape == (RATE // 2,)
    assert again.min() > 0.4
    batch = TrainingClips(task, RATE, 0.5, 0, [tmp_path / "short.wav"])[1, torch.arange(16)]
    assert not isinstance(batch, OscineError)
    laid = (batch.background != 0).any(1)
    assert 3 <= laid.sum() <= 14
    found = plan(task, tuning=replace(ALL, background=tmp_path)).judge({})
    assert not torch.equal(found.logits[0], plan(task).judge({}).logits[0])


def seeds(task: Task, step: int, rows: list[int], seed: int = 0) -> Tensor:
    """Of a step's clips."""
    clips = TrainingClips(task, RATE, 0.5, seed)[step, torch.tensor(rows)]
    assert not isinstance(clips, OscineError)
    return clips.seed


def test_a_clips_seed_depends_on_seed_step_and_row_alone(task: Task) -> None:
    first, turned = seeds(task, 1, [2, 5]), seeds(task, 1, [7, 5, 2])
    assert first[0] == turned[2]
    assert first[1] == turned[1]
    assert first[0] != seeds(task, 2, [2])[0] != seeds(task, 2, [2], seed=1)[0]


def test_several_labels_learn_too(task: Task) -> None:
    targets = torch.stack([task.targets, torch.ones(16).long()], 1).float()
    found = plan(replace(task, targets=targets), balanced=True).judge({})
    assert found.logits[0].shape == (8, 2)
    assert found.logits[0].isfinite().all()


def test_bfloat16_learns_about_the_same(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    full = plan(task).judge({})
    monkeypatch.setattr("oscine.models.encoders.base.precision.survives_bfloat16", lambda: True)
    with torch.backends.mkldnn.flags(enabled=False):
        half = plan(task, tuning=replace(ALL, precision="bfloat16")).judge({})
    assert not torch.equal(full.logits[0], half.logits[0])
    torch.testing.assert_close(full.logits[0], half.logits[0], atol=0.05, rtol=0.1)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"mix": 1.5}, "tuning.mix is 1.5, expected a chance from 0"),
        ({"layer_decay": 0.0}, "expected a decay above 0"),
        ({"drop_path": 1.0}, "a chance below 1"),
        ({"masks": -1}, "expected 1 step, else 0 at least"),
        ({"noise_snr": (25.0, 5.0)}, r"tuning.noise_snr is \[25.0, 5.0\], expected decibels"),
        ({"precision": "half"}, "no precision 'half'"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(OscineError, match=complaint):
        TuningSettings(**wrong)


def _in_another_process(folder: Path) -> None:
    """Locks are a process's own: another one has to ask."""
    done = Program([str(folder)], work=_open_states).end()
    raise OscineError(done.err.strip().splitlines()[-1])


def _open_states(folders: list[str]) -> None:
    TuningStates(Path(folders[0]), {"fit.lr": 0.1, "head.pool": "cls"}, resume=True)
