"""A card says what is known, in words and in the Hub's metadata, and nothing else."""

from __future__ import annotations

import pytest
import yaml
from huggingface_hub import ModelCard

from oscine.models.checkpoints import PUBLISHED
from oscine.models.encoders.base.provenance import Origin
from oscine.models.encoders.onnx_encoder import ONNXEncoder
from oscine.models.publish.card import benchmark_file, students, write_card
from oscine.models.publish.facts import Facts, Run
from oscine.models.publish.scores import Benchmark, Scores
from oscine.models.publish.terms import Licence, parse_licence
from oscine.models.text.words import duration
from oscine.models.zoo import create_model

SSLAM = next(row.sha256 for row in PUBLISHED if row.name == "sslam_base.as2m")
TINY = {"dim": 24, "depth": 1, "heads": 2}


def facts(**known: object) -> Facts:
    encoder = create_model("bird_mae_tiny", **TINY)
    return Facts("robin/bird", "v1", encoder, 64 * "a", Licence("mit"), **known)  # type: ignore[arg-type]


def scores(**folds: list[float]) -> Scores:
    board = Benchmark("robin/birds", "dawn", "map")
    return Scores("dawn", "LinearProbe", "labels", folds, {"cmap": (0.312, 0.5)}, b"{}", "2026-11-20", board)


def test_a_card_of_nothing_but_weights_has_no_empty_sections():
    card = write_card(facts())
    headings = [line for line in card.splitlines() if line.startswith("## ")]
    assert headings == ["## Use", "## The encoder", "## Limits", "## Licence", "## Citation"]
    assert "None" not in card
    assert "nothing has been measured with these very weights" in card
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata.keys() == {"library_name", "license", "pipeline_tag", "tags"}


@pytest.mark.parametrize(
    ("model", "learnt"), [("perch_v2.inat2024_fsd50k", "supervised"), ("bat_base.as2m", "self-supervised")]
)
def test_weights_that_have_seen_labels_are_not_called_self_supervised(model: str, learnt: str) -> None:
    card = write_card(facts(encoder_origin=Origin(model, "file", 64 * "b", "MIT")))
    assert f"a {learnt} audio encoder with " in card
    assert learnt in yaml.safe_load(card.split("---\n")[1])["tags"]


def test_an_encoder_that_is_a_file_has_no_number_of_parameters() -> None:
    encoder = ONNXEncoder(8, seconds=1.0)
    card = write_card(Facts("robin/bird", "v1", encoder, 64 * "a", Licence("mit")))
    said = "ONNXEncoder, an audio encoder in an ONNX file: waveforms at 32 kHz in clips of 1 s to 8 numbers a clip."
    assert said in card


def test_the_run_is_told():
    machine = {"device": "a fine processor", "devices": 2, "precision": "bf16-mixed"}
    run = Run(400_000, {"loss": (0.9, 0.25)}, 7_500.0, machine, "name: bird\nseed: 1\n", "runs/old")
    card = write_card(facts(run=run))
    assert "- 400,000 optimiser steps in 2 h 5 min on 2 x a fine processor (bf16-mixed)\n" in card
    assert "- begun with the weights of `runs/old`\n" in card
    assert "- loss: 0.9 when first logged, 0.25 when last\n" in card
    assert "```yaml\nname: bird\nseed: 1\n```" in card
    assert "base_model" not in card, "what is on no Hub is nobody's base"


def test_whose_weights_a_run_began_with_is_told():
    origin = Origin(
        "hf-hub:wren/old", "model.safetensors", 64 * "b", "cc-by-nc-4.0", "wren/old", 40 * "c", trained=True
    )
    card = write_card(facts(run=Run(4, {}, init="hf-hub:wren/old@v2"), encoder_origin=origin))
    assert "\nbase_model: wren/old\n" in card
    assert (
        f"| begun with | `hf-hub:wren/old`, `wren/old` at `{40 * 'c'}`: `model.safetensors`, sha256 `{64 * 'b'}` |"
        in card
    )
    assert "They began with `hf-hub:wren/old`, whose source states: cc-by-nc-4.0." in card


def test_the_hubs_own_reader_finds_the_scores():
    card = ModelCard(write_card(facts(scores=[scores(map=[0.5, 0.7])])))
    [result] = card.data.eval_results
    assert (result.dataset_type, result.metric_type, result.metric_value) == ("robin/birds", "map", 0.6)
    assert "| LinearProbe | labels | map | 60.0 | 0.0 to 100.0 | 50.0, 70.0 |" in card.text


def test_the_interval_of_folds_is_students():
    # scipy.stats.t.interval(0.95, 4, loc=0.7, scale=scipy.stats.sem([0.6, 0.65, 0.7, 0.75, 0.8])) is 0.601838, 0.798162
    assert students([0.6, 0.65, 0.7, 0.75, 0.8]) == pytest.approx((0.601838, 0.798162), abs=2e-5)
    assert students([0.5, 0.9]) == (0.0, 1.0)


def test_the_interval_of_one_fold_is_the_bootstraps():
    card = write_card(facts(scores=[scores(cmap=[0.4], map=[0.5])]))
    assert "| LinearProbe | labels | cmap | 40.0 | 31.2 to 50.0 | 40.0 |" in card
    assert "| LinearProbe | labels | map | 50.0 |  | 50.0 |" in card, "of which none was drawn"


def test_no_address_of_a_mirror_stands_in_a_card(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://robin:secret@mirror.example")
    known, score = facts(), scores(map=[0.5, 0.7])
    told = write_card(known) + str(benchmark_file(known, score))
    assert "mirror" not in told
    assert "url = {https://huggingface.co/robin/bird}" in told
    assert "https://huggingface.co/robin/bird/blob/v1/scores/dawn.json" in told
    assert "date: '2026-11-20'" in told


def test_a_file_that_nobody_knows_is_only_said_to_be_what_it_is_called():
    for sha256, words in ((64 * "b", "what is said to be `sslam_base.as2m`"), (SSLAM, "`sslam_base.as2m`")):
        origin = Origin("sslam_base.as2m", "any.pth", sha256, "MIT")
        card = write_card(facts(encoder_origin=origin))
        assert f"| taken from | {words}: `any.pth`, sha256 `{sha256}` |" in card


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.4, "12 s"), (119, "2 min"), (180, "3 min"), (3600, "1 h 0 min"), (90_000, "25 h 0 min")]
)
def test_durations_are_told_as_people_do(seconds, text):
    assert duration(seconds) == text


def test_any_licence_can_be_named_with_its_link():
    licence = parse_licence("garden-terms=https://garden.example/terms")
    assert licence == Licence("garden-terms", "https://garden.example/terms")
    encoder = create_model("bird_mae_tiny", **TINY)
    card = write_card(Facts("robin/bird", "v1", encoder, "", licence))
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["license"] == "other"
    assert metadata["license_name"] == "garden-terms"
    assert metadata["license_link"] == "https://garden.example/terms"


@pytest.mark.parametrize("name", ["garden", "Garden Terms", "llama9"])
def test_a_licence_that_the_hub_has_no_name_for_is_another_one_also_without_a_link(name):
    encoder = create_model("bird_mae_tiny", **TINY)
    metadata = yaml.safe_load(write_card(Facts("robin/bird", "v1", encoder, "", Licence(name))).split("---\n")[1])
    assert (metadata["license"], metadata["license_name"]) == ("other", name)
    assert "license_link" not in metadata
