"""The page of a run is whole for every probe, needs nothing else, and its sums are those of the judged logits."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.probe.features.encoding import encode_task
from oscine.probe.fit.baselines import ALL_LAYERS
from oscine.probe.fit.judge import Judgement, judge
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.attentive import AttentiveProbe
from oscine.probe.heads.convex_gated import ConvexGatedProbe
from oscine.probe.heads.linear import Head2ToeProbe, LayerGatedProbe, LinearProbe
from oscine.probe.heads.probe import Probe
from oscine.probe.heads.protobin import ProtobinProbe
from oscine.probe.heads.prototypical import PrototypicalProbe
from oscine.probe.metrics.bootstrap import Resampling
from oscine.probe.report.examples import Judged, confident_examples, explain, prototype_cutouts
from oscine.probe.report.explain import as_prototype_probe
from oscine.probe.report.html import Report
from oscine.probe.report.page import probe_report, show_settings
from oscine.probe.report.score_sections import guessing
from oscine.probe.results.intervals import assess
from oscine.probe.tasks.task import Part, Task, read_task

RATE = 32_000
BRIEF = FitSettings(steps=15, warmup=1, batch_size=8, lr=1e-2)
PROBES: dict[str, tuple[type[Probe], dict[str, Any]]] = {
    "linear": (LinearProbe, {"pool": "mean"}),
    "linear cls": (LinearProbe, {"pool": "cls"}),
    "linear bands, batch norm": (LinearProbe, {"pool": "bands", "norm": "batch"}),
    "layer gated": (LayerGatedProbe, {"pool": "cls"}),
    "head2toe": (Head2ToeProbe, {"pool": "mean"}),
    "prototypical": (PrototypicalProbe, {"prototypes_per_class": 2}),
    "protobin": (ProtobinProbe, {"prototypes": 12}),
    "cgp": (ConvexGatedProbe, {"prototypes": 12}),
    "attentive": (AttentiveProbe, {}),
}
WITHOUT_SUMS = ("attentive",)
every_probe = pytest.mark.parametrize("name", PROBES)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return BirdMAE(dim=24, depth=2, heads=2, seconds=1.0).eval()


def tones(folder: Path, several: bool) -> Task:
    """A tone a class in noise, or several; one class, "owl & <wren>", is never judged in the first part."""
    rng = np.random.default_rng(0)
    time = np.arange(RATE) / RATE
    lines = ["path,labels,fold"]
    for row in range(24):
        labels = [row % 3, *([(row + 1) % 3] if several and row % 4 == 0 else [])]
        wave = 0.05 * rng.standard_normal(RATE)
        for label in labels:
            wave[8000:16000] += 0.3 * np.sin(2 * np.pi * 700 * 3**label * time[8000:16000])
        soundfile.write(folder / f"{row}.wav", wave, RATE)
        lines.append(f"{row}.wav,{';'.join(('a', 'b', 'owl & <wren>')[label] for label in labels)},{row // 3 % 2}")
    (folder / "table.csv").write_text("\n".join(lines))
    return read_task(folder / "table.csv")


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return tones(tmp_path_factory.mktemp("single"), several=False)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return tones(tmp_path_factory.mktemp("several"), several=True)


def judged(name: str, encoder: Encoder, task: Task) -> tuple[Features, Judgement]:
    kind, settings = PROBES[name]
    make = partial(kind, encoder, len(task.classes), **settings)
    features = encode_task(encoder, task, make().needs)
    return features, judge(make, features, task, BRIEF)


@every_probe
def test_the_page_has_what_this_probe_can_show_and_nothing_to_fetch(name: str, encoder: Encoder, single: Task) -> None:
    features, judgement = judged(name, encoder, single)
    layers = encode_task(encoder, single, ALL_LAYERS)
    page = probe_report(
        "a <run>",
        Judged(encoder, single, judgement, features),
        assess(judgement, single, Resampling(20)),
        layers=layers,
    ).html()
    headings = re.findall("<h2>(.*?)</h2>", page)
    kind = PROBES[name][0]
    expected = {
        "Scores": True,
        "Layers": True,
        "What prototypes look at": issubclass(kind, (PrototypicalProbe, ProtobinProbe, ConvexGatedProbe)),
        "Predictions as sums": name not in WITHOUT_SUMS,
        "Do the probabilities hold?": True,
        "Classes": True,
        "Confusion": True,
    }
    assert headings == [heading for heading, shown in expected.items() if shown]
    assert ("gate of each layer" in page or "How much of each layer" in page) == (name in ("cgp", "layer gated"))
    sources = re.findall('src="(.{30})', page)
    assert len(sources) >= 3
    assert all(source.startswith("data:image/") for source in sources)
    assert re.findall('alt="(.*?)"', page).count("") == 0
    assert not re.search("<script|http|url\\(|@import|nan", re.sub('src=".*?"', "", page))
    assert "owl &amp; &lt;wren&gt;" in page


@every_probe
@pytest.mark.parametrize("labels", ["single", "several"])
def test_a_sum_comes_to_the_logit_that_was_judged(
    name: str, labels: str, encoder: Encoder, request: pytest.FixtureRequest
) -> None:
    task: Task = request.getfixturevalue(labels)
    features, judgement = judged(name, encoder, task)
    judged_task = Judged(encoder, task, judgement, features)
    cases = confident_examples(judged_task)
    assert cases
    for case in cases:
        found = explain(judged_task, case)
        assert (found is None) == (name in WITHOUT_SUMS)
        if found is None:
            continue
        (spectrogram, _), account = found
        place = task.parts[0].test.tolist().index(case.row)
        assert account.logit == pytest.approx(judgement.logits[0][place, case.label].item(), abs=1e-4)
        assert spectrogram.shape == (encoder.grid[0] * 16, 128)
        if account.heat is not None and isinstance(judged_task.probe, LinearProbe):
            assert account.heat.sum().item() == pytest.approx(account.logit - account.bars[0][1], abs=1e-6)


def test_the_confident_examples_are_the_surest_right_one_and_the_surest_wrong_one(
    encoder: Encoder, single: Task
) -> None:
    part = single.parts[0]
    logits = torch.zeros(len(part.test), 3)
    truth = single.targets[part.test]
    logits[torch.arange(len(truth)), truth] = 1.0
    logits[2, truth[2]] = 4.0
    logits[5, (truth[5] + 1) % 3] = 3.0
    probe = LinearProbe(encoder, 3)
    judgement = Judgement(["fold 0"], [], [probe], [logits])
    right, wrong = confident_examples(Judged(encoder, single, judgement, Features(*[torch.zeros(0)] * 3)))
    assert (right.row, right.label, right.right) == (part.test[2], truth[2], True)
    assert (wrong.row, wrong.label, wrong.right) == (part.test[5], (truth[5] + 1) % 3, False)
    assert right.probability == pytest.approx(np.exp(4) / (np.exp(4) + 2))


@pytest.mark.parametrize("name", ["prototypical", "protobin", "cgp"])
def test_cut_outs_are_of_judged_clips_with_the_weights_of_the_class(name: str, encoder: Encoder, single: Task) -> None:
    features, judgement = judged(name, encoder, single)
    judged_task = Judged(encoder, single, judgement, features)
    opened = as_prototype_probe(judged_task.probe)
    assert opened is not None
    shown = prototype_cutouts(judged_task, opened, [2, 0], prototypes=2)
    assert list(shown) == [2, 0]
    judged_names = {judged_task.name(row) for row in judged_task.part.test.tolist()}
    for label, prototypes in shown.items():
        assert len(prototypes) == 2
        weights = [float(title.split()[-1]) for title in prototypes]
        assert weights == sorted(weights, reverse=True)
        assert weights[0] == pytest.approx(opened.prototypes_of(label)[1][:, -1].max().item(), abs=0.006)
        for cutouts in prototypes.values():
            assert len(cutouts) == 3
            for cutout in cutouts:
                labels, _, recording = cutout.title.partition("\n")
                assert recording.partition(":")[0] in judged_names
                assert cutout.strange == (labels != single.classes[label])
                assert cutout.box.end <= encoder.grid[0] * 16


def test_a_report_looks_into_a_copy_and_leaves_encoder_and_probes_as_they_were(encoder: Encoder, several: Task) -> None:
    features, judgement = judged("layer gated", encoder, several)
    before = [tensor.clone() for module in (encoder, judgement.probes[0]) for tensor in module.state_dict().values()]
    judged_task = Judged(encoder, several, judgement, features)
    page = probe_report("", judged_task, assess(judgement, several, Resampling(20))).html()
    after = [tensor for module in (encoder, judgement.probes[0]) for tensor in module.state_dict().values()]
    assert all(torch.equal(first, second) for first, second in zip(before, after, strict=True))
    assert "Confusion" not in page
    assert "any number of them a clip" in page


def test_a_page_ends_with_the_command_and_folds_the_settings_that_have_a_value() -> None:
    page = Report("")
    settings = {"head": {"pool": "mean"}, "fit": {"lr": 1e-2, "clip": None, "balanced": False}, "tuning": {"mix": 1.0}}
    show_settings(page, settings, "oscine probe linear --table 'a <b>.csv'")
    html = page.html()
    assert "<code>oscine probe linear --table &#x27;a &lt;b&gt;.csv&#x27;</code>" in html
    folded = html.partition("<details>")[2]
    for name, value in (("head.pool", "mean"), ("fit.lr", "0.01"), ("fit.balanced", "false")):
        assert f"<td>{name}</td><td>{value}</td>" in folded
    assert "fit.clip" not in html
    assert "tuning.mix" not in html, "nothing was fine-tuned"
    show_settings(page, settings | {"finetune": True})
    assert "<td>tuning.mix</td><td>1.0</td>" in page.html()


def test_scores_stand_beside_those_of_guessing() -> None:
    order = torch.arange(4)
    parts = [Part("fold 0", order[2:], order[:2]), Part("fold 1", order[:2], order[2:])]
    one = Task(None, ["owl", "wren", "crow"], torch.tensor([0, 0, 0, 1]), parts)  # type: ignore[arg-type]
    assert guessing(one) == {"cmap": 0.5, "auroc": 0.5, "accuracy": 0.75}
    several = replace(one, targets=torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]))
    assert guessing(several) == {"cmap": 0.375, "auroc": 0.5}
