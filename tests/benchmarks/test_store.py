"""The benchmark fits what the quickstart fits, and counts every clip that is encoded."""

from __future__ import annotations

import re

import pytest
import store as benchmark

from oscine.cli.console import config
from oscine.probe.fit.settings import FitSettings


def test_on_as_many_clips_as_esc_10_has_the_epochs_are_the_quickstarts() -> None:
    for chosen in config.read(config.find_quickstart())["probes"].values():
        settings = benchmark.fit_settings(chosen["fit"], 400, None)
        assert settings == FitSettings(**chosen["fit"] | {"warmup": settings.steps // 10})
        assert benchmark.fit_settings(chosen["fit"], 40, None).steps == settings.steps // 5  # a batch instead of five


def test_with_a_store_every_clip_is_encoded_once_and_without_once_for_each_probe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    benchmark.store(clips=10, epochs=2, model="bat_tiny")
    said = capsys.readouterr().out
    assert re.findall(r"(\d+) clips encoded", said) == ["10", "40"]
    assert re.search(r"; ratio \d+\.\d\d, of CPU \d+\.\d\d\n$", said)
