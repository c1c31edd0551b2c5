"""Names that cannot be opened are refused with what would do, without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from oscine.models.errors import OscineError
from oscine.models.zoo import check_encoder, create_model, fetch_weights


def test_the_zoo_is_listed_and_checked_without_torch():
    code = """
import sys
from oscine.models.errors import OscineError
from oscine.models.zoo import check_model, list_models
list_models(), list_models(pretrained=True)
for name in ("bat_tiny", "bird_mae_base.xcl", "hf-hub:robin/tiny"):
    check_model(name)
for name, more in (("bat_tyni", {}), ("bat_base.dawn", {}), ("hf-hub:a b", {}), ("local-dir:nowhere", {}),
                   ("beats_base", {"pretrained": True}), ("bat_base", {"checkpoint_path": "nowhere.pt"})):
    try:
        check_model(name, **more)
    except OscineError:
        continue
    raise AssertionError(name)
assert not {"torch", "timm", "pandas", "lightning"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("ask", [fetch_weights, lambda name: create_model(name, pretrained=True)])
def test_weights_that_cannot_be_fetched_say_what_would_do(ask):
    with pytest.raises(
        OscineError,
        match=r"bat_tiny has no weights to fetch.*give a file of weights \(checkpoint_path=FILE .*local-dir:",
    ):
        ask("bat_tiny")
    words = r"beats_base\.as2m has no weights to fetch.*arXiv 2212.*get BEATs_iter3\.pt .*give it: checkpoint_path"
    for name in ("beats_base", "beats_base.as2m"):
        with pytest.raises(OscineError, match=words):
            ask(name)


@pytest.mark.parametrize("ask", [create_model, fetch_weights, lambda name: create_model(name, pretrained=True)])
def test_a_tag_that_is_not_there_is_named(ask):
    with pytest.raises(OscineError, match=r"no weights 'bird_mae_base\.dawn'; bird_mae_base has bird_mae_base\.xcl$"):
        ask("bird_mae_base.dawn")
    with pytest.raises(OscineError, match=r"no weights 'bat_tiny\.xcl'; bat_tiny has none"):
        ask("bat_tiny.xcl")


def test_weights_from_two_places_at_once_are_refused(tmp_path):
    with pytest.raises(OscineError, match=r"bat_base cannot load its published weights and .*weights\.pt at once"):
        create_model("bat_base", pretrained=True, checkpoint_path=tmp_path / "weights.pt")


@pytest.mark.parametrize("name", ["bat_tiny", "bat_base.as2m", "local-dir:somewhere"])
def test_a_revision_of_what_has_none_is_refused(name):
    with pytest.raises(OscineError, match=rf"{name} has no revision 'v1': revisions are the Hub's"):
        create_model(name, revision="v1")


def test_two_revisions_at_once_are_refused():
    with pytest.raises(OscineError, match=r"hf-hub:robin/tiny@v1 and revision='v2' differ; give one"):
        create_model("hf-hub:robin/tiny@v1", revision="v2")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "perch_v2",
            r"it cannot have random weights; pretrained=True fetches it .*--random-weights\), or give the file:",
        ),
        ("birdnet_v3.global_11k", r"it cannot have random weights; give the file: checkpoint_path=FILE .*--checkpoint"),
    ],
)
def test_what_is_a_file_alone_is_not_made_without_it(name, words):
    with pytest.raises(OscineError, match=rf"^{name} exists as an ONNX file alone, so {words}"):
        create_model(name)
    with pytest.raises(OscineError, match=words):
        check_encoder(name, None, random_weights=True)


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(OscineError, match=r"no model 'bird_mae_bse'; did you mean 'bird_mae_base'"):
        create_model("bird_mae_bse")


def test_a_name_that_resembles_none_gets_the_list():
    with pytest.raises(
        OscineError, match=r"no model 'xyz'; there are .*bat_base, .*hf-hub:OWNER/REPOSITORY.*local-dir:FOLDER"
    ):
        create_model("xyz")
