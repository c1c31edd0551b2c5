"""Clips in which no class sounds: by their labels, and made, for the probe that is kept; silence is no bird."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from oscine.models.audio.scan import find_recordings
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.models.errors import OscineError
from oscine.probe.deploy.fitted_probe import FittedProbe, ProbeFit, keep_probe
from oscine.probe.deploy.negatives import (
    DITHER,
    LEARNT,
    MEASURED,
    NOISE_CLIPS,
    SILENCE_CLIPS,
    FalsePositives,
    JoinedFeatures,
    background_task,
    describe_false_positives,
    end_early,
    find_like_noise,
    keep_with_negatives,
    make_negatives,
    make_noise,
    make_silence,
    measure_levels,
)
from oscine.probe.features.encoding import encode_task, encode_waveforms
from oscine.probe.fit.judge import Judgement
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.tasks.class_names import means_no_class
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.splits import read_class_folders, read_labelled
from oscine.probe.tasks.task import Task, as_columns, as_task, read_task
from tests.tiny_encoders import shaken

RATE, SECONDS, CLIPS = 16_000, 0.8, 24
HEAD = {"pool": "bands", "norm": "batch"}
BRIEF = FitSettings(steps=60, warmup=6, batch_size=12, lr=1e-2)


@pytest.mark.parametrize(
    ("label", "none"),
    [
        ("background", True),
        ("Background", True),
        ("NOISE", True),
        (" silence ", True),
        ("other", True),
        ("non-event", True),
        ("Non_Event", True),
        ("nocall", True),
        ("-owl", True),
        ("owl", False),
        ("noisy miner", False),
        ("rain", False),
        ("A-", False),
        ("another", False),
    ],
)
def test_labels_mean_no_class_by_the_fields_convention(label: str, none: bool) -> None:
    assert means_no_class(label) is none


def table(folder: Path, labels: list[str]) -> Path:
    """Two clips of each label, in two folds."""
    names = [label for label in labels for _ in range(2)]
    lines = [f"{number}.wav,{label},{number % 2}" for number, label in enumerate(names)]
    for number in range(len(names)):
        soundfile.write(folder / f"{number}.wav", np.zeros(800), RATE)
    path = folder / "labels.csv"
    path.write_text("\n".join(["path,label,fold", *lines]))
    return path


def test_rows_without_a_class_are_of_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = table(tmp_path, ["owl", "Noise", "wren", "-owl"])
    with caplog.at_level(logging.INFO):
        found = read_labelled(path)
    assert found.classes == ["owl", "wren"]
    assert found.targets.tolist() == [[1, 0]] * 2 + [[0, 0]] * 2 + [[0, 1]] * 2 + [[0, 0]] * 2
    assert "-owl, Noise (4 labels) mean that no class sounds" in caplog.text
    assert read_labelled(path, negatives=False).classes == ["-owl", "Noise", "owl", "wren"]


def test_one_class_beside_none_is_a_task(tmp_path: Path) -> None:
    found = read_labelled(table(tmp_path, ["owl", "background"]))
    assert (found.classes, found.targets.tolist()) == (["owl"], [[1], [1], [0], [0]])


def test_a_table_of_none_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OscineError, match=r"all labels of .* mean that no class sounds; name classes, or give --negat"):
        read_labelled(table(tmp_path, ["noise", "background"]))


def test_folders_without_a_class_are_of_none(tmp_path: Path) -> None:
    for name in ("owl", "wren", "Background"):
        (tmp_path / name).mkdir()
        for number in range(2):
            soundfile.write(tmp_path / name / f"{number}.wav", np.zeros(800), RATE)
    task = as_task(read_class_folders(tmp_path, 2))
    assert task.classes == ["owl", "wren"]
    assert task.targets.tolist() == [[0, 0]] * 2 + [[1, 0]] * 2 + [[0, 1]] * 2
    assert read_class_folders(tmp_path, 2, negatives=False).targets.tolist() == [0, 0, 1, 1, 2, 2]


def test_noise_has_every_level_and_the_colours_in_turn() -> None:
    levels = [0.01, 0.1] * 6
    noise = make_noise(levels, RATE, RATE, colours=(0.0, 0.5, 1.0), random=np.random.default_rng(0))
    torch.testing.assert_close(noise.std(1), torch.tensor(levels), rtol=1e-3, atol=0.0)
    power = torch.fft.rfft(noise).abs().square()
    assert (power[:, 1:50].sum(1) < 1e-6 * power.sum(1)).all(), "nothing that no encoder hears"
    low, high = power[:, 100:200].mean(1), power[:, 1000:2000].mean(1)  # ten times the frequency
    falls = (low / high).log10().reshape(4, 3).mean(0)
    torch.testing.assert_close(falls, torch.tensor([0.0, 1.0, 2.0]), rtol=0.0, atol=0.1)


def test_levels_of_noise_reach_from_the_loudest_recordings_down_to_dither() -> None:
    found = np.geomspace(0.01, 0.1, 50).tolist()
    levels = np.sort(LEARNT.levels(found, 36, np.random.default_rng(0)))
    low, high = np.quantile(found, LEARNT.quantiles)
    assert DITHER < levels[0] < 2 * DITHER
    assert 0.9 * high < levels[-1] < high
    assert (levels > low).sum() == 18
    assert (levels[1:] / levels[:-1]).max() < 2.5, "no gap"


def test_features_of_several_sources_are_taken_in_any_order() -> None:
    def source(first: int, rows: int) -> Features:
        numbers = torch.arange(first, first + rows).float()
        return Features(numbers[None, :, None], numbers[None, :, None, None, None], numbers[:, None])

    joined = JoinedFeatures([(source(0, 3), torch.arange(3)), (source(10, 2), torch.tensor([1, 0, 1, 1]))])
    taken = joined.take(torch.tensor([6, 0, 4, 2, 3]))
    assert taken.pooled[:, 0].tolist() == [11, 0, 10, 2, 11]
    assert taken.cls[0, :, 0].tolist() == taken.patches[0, :, 0, 0, 0].tolist() == taken.pooled[:, 0].tolist()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return shaken("BAT")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Tones of two heights over a little noise, in two folds."""
    folder, random = tmp_path_factory.mktemp("tones"), np.random.default_rng(0)
    lines, time = ["path,label,fold"], np.arange(round(SECONDS * RATE)) / RATE
    for number in range(CLIPS):
        label = ("low", "high")[number % 2]
        tone = 0.1 * np.sin(2 * np.pi * {"low": 500, "high": 3000}[label] * time)
        soundfile.write(folder / f"{number}.wav", tone + 0.01 * random.standard_normal(len(time)), RATE)
        lines.append(f"{number}.wav,{label},{number // 2 % 2}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return read_task(folder / "labels.csv")


def kept(
    encoder: Encoder, task: Task, background: Path | None = None, negatives: bool = True, noise: Tensor | None = None
) -> FittedProbe:
    make = partial(LinearProbe, encoder, len(task.classes), **HEAD)
    features = encode_task(encoder, task, make().needs, SECONDS)
    fit = ProbeFit(make, HEAD, encoder, features, task, BRIEF, SECONDS)
    judgement = fit.judge()
    if not negatives:
        return keep_probe(fit, judgement)
    made = make_negatives(encoder, make().needs, task, seconds=SECONDS)
    if background:
        others, recordings = background_task(find_recordings(background), SECONDS)
        source = encode_task(encoder, others, make().needs, SECONDS)
        made = replace(made, background=source, recordings=recordings)
    if noise is not None:
        made = replace(made, for_thresholds=encode_waveforms(encoder, list(noise), make().needs, SECONDS))
    fitted = keep_with_negatives(fit, judgement, made)
    assert fitted.scores == judgement.as_dict()["mean"], "the scores are of the folds' probes"
    return fitted


def detected(fitted: FittedProbe, clips: Sequence[Tensor]) -> int:
    """Pairs of clip and class that reach the class's threshold."""
    assert fitted.thresholds is not None
    return sum(int((fitted(clip[None]).double() >= fitted.thresholds).sum()) for clip in clips)


def nothing(task: Task) -> list[Tensor]:
    """Silence and noise, as loud as the task's clips and softer, that no probe has learnt from."""
    samples, random = round(SECONDS * RATE), np.random.default_rng(77)
    levels = MEASURED.levels(measure_levels(task, RATE, SECONDS), 60, random)
    noise = make_noise(levels, samples, RATE, colours=(0.0, 0.3, 0.6, 0.9), random=random)
    return [torch.zeros(samples), *end_early(noise, random)]


def test_a_kept_probe_detects_nothing_in_silence_and_noise_and_still_its_classes(encoder: Encoder, task: Task) -> None:
    clips = nothing(task)
    assert detected(kept(encoder, task, negatives=False), clips) > 0, "else there was nothing to mend"
    fitted = kept(encoder, task)
    assert not fitted.single_label
    assert detected(fitted, clips) == 0
    tones = torch.stack([torch.from_numpy(soundfile.read(path)[0]).float() for path in task.rows["path"]])
    assert fitted.thresholds is not None
    found = fitted(tones).double() >= fitted.thresholds
    assert torch.equal(found.int(), torch.nn.functional.one_hot(task.targets, 2).int())
    assert fitted.fitted_on["rows"] == CLIPS
    measured = fitted.fitted_on["negatives"]
    assert measured["silence"] == {"clips": 4, "seconds": 4 * SECONDS, "detections": 0}
    assert measured["noise"] == {"clips": NOISE_CLIPS, "seconds": NOISE_CLIPS * SECONDS, "detections": 0}


def test_what_is_counted_is_none_of_what_thresholds_are_above(encoder: Encoder, task: Task) -> None:
    """Thresholds above noise say nothing of that very noise."""
    made = make_negatives(encoder, LinearProbe(encoder, 2, **HEAD).needs, task, seconds=SECONDS)
    one, two = (made.patches[0, SILENCE_CLIPS:, 0].flatten(1) for made in (made.to_learn, made.for_thresholds))
    other = made.to_measure["noise"].patches[0, :, 0].flatten(1)
    for clips, seen in ((other, one), (other, two), (one, two)):
        assert torch.cdist(clips, seen).min() > 1e-4


def test_silence_is_digital_or_has_dither() -> None:
    found = make_silence(1000, np.random.default_rng(0))
    assert found.shape == (SILENCE_CLIPS, 1000)
    loudest = found.abs().amax(1)
    assert ((loudest > 0) & (loudest <= DITHER)).tolist() == [True, True, False, False]


def test_some_clips_end_early_and_in_time_of_every_colour() -> None:
    clips = end_early(torch.ones(NOISE_CLIPS, 1000), np.random.default_rng(0))
    short = [number for number, clip in enumerate(clips) if len(clip) < 1000]
    assert short == [0, 5, 10, 15, 20, 25, 30, 35]
    assert min(map(len, clips)) >= 100
    for kinds in (LEARNT, MEASURED):
        assert {number % len(kinds.colours) for number in short} == set(range(len(kinds.colours)))


def test_background_is_learnt_from_and_measured_on_recordings_that_were_not(
    encoder: Encoder, task: Task, tmp_path: Path
) -> None:
    """A tone near a class, which is taken for it unless it is known as background."""
    time = np.arange(round(4.1 * SECONDS * RATE)) / RATE
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * np.sin(2 * np.pi * 2900 * time + number), RATE)
    clip = torch.from_numpy(soundfile.read(tmp_path / "0.wav")[0][: round(SECONDS * RATE)]).float()[None]
    assert detected(kept(encoder, task), clip) > 0, "else there was nothing to learn"
    fitted = kept(encoder, task, tmp_path)
    assert detected(fitted, clip) == 0
    assert fitted.fitted_on["negatives"]["background"]["clips"] == 16
    assert fitted.fitted_on["negatives"]["background"]["detections"] == 0


def test_a_class_that_sounds_like_noise_keeps_its_threshold_and_is_named(
    encoder: Encoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples, random = round(SECONDS * RATE), np.random.default_rng(1)
    lines, tone = ["path,label,fold"], np.sin(2 * np.pi * 1000 * np.arange(samples) / RATE)
    for number in range(CLIPS):
        noise = 0.1 * random.standard_normal(samples)
        soundfile.write(tmp_path / f"{number}.wav", noise if number % 2 else 0.1 * tone + noise / 100, RATE)
        lines.append(f"{number}.wav,{('tone', 'rain')[number % 2]},{number // 2 % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    task = read_task(tmp_path / "labels.csv")
    clips = torch.stack([torch.from_numpy(soundfile.read(path)[0]).float() for path in task.rows["path"]])
    fitted = kept(encoder, task, noise=clips[1::2])  # the very same noise
    assert fitted.fitted_on["sounds_like_noise"] == ["rain"]
    assert "rain sounds like noise: a threshold above noise" in caplog.text
    assert fitted.thresholds is not None
    found = fitted(clips).double() >= fitted.thresholds
    assert found[1::2, 0].float().mean() > 0.7, "rain is still found"
    assert fitted.fitted_on["negatives"]["noise"]["detections"] == 0, "of tone"


def test_where_every_class_sounds_like_noise_one_line_says_so(
    encoder: Encoder, task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    fitted = FittedProbe(LinearProbe(encoder, 2, "mean"), encoder, {}, task.classes, SECONDS, TaskKind.MULTI)
    logits = [4.0 * as_columns(task.targets[part.test], 2).double() - 2.0 for part in task.parts]
    chosen, above_noise = torch.full((2,), 0.5, dtype=torch.float64), torch.tensor([0.95, 0.99], dtype=torch.float64)
    made = Judgement([part.name for part in task.parts], [], logits=logits)
    assert find_like_noise(fitted, task, made, chosen=chosen, above_noise=above_noise).all()
    [said] = caplog.messages
    assert said.startswith("every class sounds like noise: thresholds above noise would leave 0 of the ")
    assert said.endswith(
        f"{CLIPS} clips that are found without; each class keeps its own, and noise may be taken for any"
    )
    assert not find_like_noise(fitted, task, made, chosen=chosen, above_noise=chosen).any()


def test_clips_of_background_are_from_all_over_the_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oscine.probe.deploy.negatives.BACKGROUND_CLIPS", 5)
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(4 * RATE), RATE)
    found, recordings = background_task(find_recordings(tmp_path), 1.0)
    assert recordings == (0, 0, 1, 2)
    assert found.rows["start"].tolist() == [0.0, 3.0, 2.0, 1.0]
    assert background_task(find_recordings(tmp_path), 1.0, most=2)[1] == (0, 1)


def test_background_that_cannot_be_read_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "0.wav").write_bytes(b"no sound")
    with pytest.raises(
        OscineError, match=r"none of the 1 background recordings can be read, such as .*0.wav; --background"
    ):
        background_task([tmp_path / "0.wav"], 1.0)
    soundfile.write(tmp_path / "1.wav", np.zeros(RATE // 2), RATE)
    found, _ = background_task(find_recordings(tmp_path), 1.0)
    assert found.rows["path"].tolist() == [str(tmp_path / "1.wav")]
    assert "background recording left out" in caplog.text


def test_false_positives_are_said_with_how_long_was_listened_and_what_cannot_be_is_none(encoder: Encoder) -> None:
    assert FalsePositives(10, 50.0, 2).per_hour == pytest.approx(144)
    facts = {"silence": FalsePositives(1, 6.0, 0)._asdict(), "noise": FalsePositives(9, 45.0, 1)._asdict()}
    probe = LinearProbe(encoder, 2, "mean")
    fitted = FittedProbe(probe, encoder, {}, ["a", "b"], 1.0, TaskKind.MULTI, fitted_on={"negatives": facts})
    said = "where no class sounds, it detects none in 0.1 min of silence, 1 in 0.75 min of noise (80 an hour)"
    assert describe_false_positives(fitted) == f"{said}; in clips of 1 s"
    tuned = replace(fitted, fitted_on={"negatives": facts, "finetuned": {}})
    assert describe_false_positives(tuned) == f"{said}; in clips of 1 s; fine-tuned, it has not learnt from them"
    rain = replace(fitted, fitted_on={"negatives": facts, "sounds_like_noise": ["b"]})
    assert describe_false_positives(rain) == f"{said}; b aside, as noise; in clips of 1 s"
    every = replace(fitted, fitted_on={"negatives": facts, "sounds_like_noise": ["a", "b"]})
    assert describe_false_positives(every).startswith("every class sounds like noise: no threshold is above noise")
    for wrong in (3, {"noise": 5}, {"noise": {"clips": 1}}, {"noise": {"clips": 1, "seconds": 0.0, "detections": 0}}):
        assert describe_false_positives(replace(fitted, fitted_on={"negatives": wrong})) == ""
