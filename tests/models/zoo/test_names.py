"""Names of encoders: listed by pattern, each once."""

from __future__ import annotations

from oscine.models.checkpoints import ARCHITECTURES, EMBEDDED, PUBLISHED
from oscine.models.zoo import list_models


def test_models_are_listed_by_pattern():
    assert {"bat_base", "bird_mae_large", "sslam_base"} < set(list_models())
    assert list_models() == sorted(list_models())
    assert list_models("bat_*") == ["bat_base", "bat_large", "bat_small", "bat_tiny"]
    assert list_models("*_tiny") == ["audiomosaic_tiny", "bat_tiny", "bird_mae_tiny"]
    assert list_models("wren*") == []
    assert list_models(["bat_*", "bird_mae_*"], exclude_filters=["*_tiny", "*_huge"]) == [
        "bat_base", "bat_large", "bat_small", "bird_mae_base", "bird_mae_large",
    ]  # fmt: skip
    assert list_models("bird*", pretrained=True, exclude_filters="bird_mae_tiny") == [
        "bird_mae_base.xcl", "bird_mae_huge.xcl", "bird_mae_large.xcl",
    ]  # fmt: skip


def test_models_are_listed_by_a_word_in_any_case_and_an_architecture_means_itself_alone():
    assert list_models("hubert") == list_models("HUBERT*") == ["hubert_base", "hubert_large"]
    assert list_models("esc10", pretrained=True) == ["bird_mae_tiny.esc10"]
    assert list_models("aves") == ["aves_base", "birdaves_base", "birdaves_large"]
    assert list_models("Aves_base") == ["aves_base"]
    assert list_models(["bat", "aves"], exclude_filters=["bird", "LARGE"]) == [
        "aves_base", "bat_base", "bat_small", "bat_tiny",
    ]  # fmt: skip


def test_weights_that_come_by_name_are_listed_with_their_tags():
    named = ["bird_mae_base.xcl", "bird_mae_huge.xcl", "bird_mae_large.xcl", "bird_mae_tiny.esc10"]
    assert list_models("bird*", pretrained=True) == named
    assert list_models("bird_mae_base", pretrained=True) == ["bird_mae_base.xcl"]
    assert list_models("*.as2m", pretrained=True) == [
        "audiomosaic_base.as2m",
        "bat_base.as2m",
        "eat_base.as2m",
        "sslam_base.as2m",
    ]
    assert list_models("*.as2m") == list_models("wren*", pretrained=True) == []
    unreachable = {row.name for row in PUBLISHED if row.repository is None and row.state != EMBEDDED}
    assert {"audio_mae_base.as2m", "beats_base.as2m"} < unreachable
    assert set(list_models(pretrained=True)) == {row.name for row in PUBLISHED} - unreachable


def test_every_row_names_an_architecture_and_no_name_or_repository_stands_twice():
    assert {row.architecture for row in PUBLISHED} <= set(ARCHITECTURES)
    repositories = [row.repository for row in PUBLISHED if row.repository]
    assert len(set(repositories)) == len(repositories)
    assert len({row.name for row in PUBLISHED}) == len(PUBLISHED)
