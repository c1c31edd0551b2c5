"""Encoders by name, and as folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from oscine import __version__
from oscine.models.errors import OscineError
from oscine.models.hub import save_pretrained
from oscine.models.zoo import create_model, list_models

PARAMETERS = {
    "bat_small": 23_364_096,
    "bat_base": 92_734_464,
    "bat_large": 328_290_304,
    "bird_mae_base": 85_453_056,
    "bird_mae_large": 302_840_832,
    "bird_mae_huge": 630_342_400,
}
SMALL = {"dim": 48, "depth": 2, "heads": 4, "seconds": 1.0}


@pytest.mark.parametrize("name", list_models())
def test_every_listed_model_can_be_made_and_is_in_eval_mode(name):
    with torch.device("meta"):
        encoder = create_model(name)
    assert not encoder.training
    assert encoder.dim // encoder.heads in (64, 80)
    if name in PARAMETERS:
        assert sum(parameter.numel() for parameter in encoder.parameters()) == PARAMETERS[name]


def test_models_are_listed_by_pattern():
    assert set(PARAMETERS) < set(list_models())
    assert list_models("bat_*") == ["bat_base", "bat_large", "bat_small", "bat_tiny"]
    assert list_models("*_tiny") == ["bat_tiny", "bird_mae_tiny"]
    assert list_models("wren*") == []


def test_only_models_whose_weights_can_be_fetched_are_listed_as_pretrained():
    for name in list_models(pretrained=True):
        assert name in list_models()
    with pytest.raises(OscineError, match=r"bat_tiny has no weights to fetch.*checkpoint_path.*local-dir:"):
        create_model("bat_tiny", pretrained=True)


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(OscineError, match=r"no model 'bird_mae_bse'; did you mean 'bird_mae_base'"):
        create_model("bird_mae_bse")


def test_a_name_that_resembles_none_gets_the_list():
    with pytest.raises(OscineError, match=r"no model 'xyz'; there are bat_base, .*local-dir:FOLDER"):
        create_model("xyz")


def test_settings_of_an_architecture_can_be_overridden():
    encoder = create_model("bat_tiny", **SMALL | {"seconds": 2.55, "drop_path": 0.1})
    assert (encoder.dim, encoder.depth, encoder.samples, encoder.grid) == (48, 2, 40_800, (16, 8))
    assert encoder.config["drop_path"] == 0.1


def test_an_unknown_setting_is_refused_with_the_known_ones():
    with pytest.raises(OscineError, match=r"BAT has no setting colour, width; it has dim, depth, heads"):
        create_model("bat_tiny", width=48, colour="red")


@pytest.mark.parametrize("name", ["bat_tiny", "bird_mae_tiny"])
def test_a_saved_encoder_comes_back_bit_for_bit(tmp_path, name):
    encoder = create_model(name, **SMALL).train()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # also what is never trained must come back
    assert save_pretrained(encoder, tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    loaded = create_model(f"local-dir:{tmp_path}/new/folder")
    assert type(loaded) is type(encoder)
    assert loaded.config == encoder.config
    assert not loaded.training
    assert encoder.training, "saving leaves the encoder as it was"
    waveform = 0.1 * torch.randn(2, encoder.samples)
    for one, other in zip(encoder.eval()(waveform), loaded(waveform), strict=True):
        assert torch.equal(one, other)


def test_a_folder_holds_weights_and_a_readable_config(tmp_path):
    save_pretrained(create_model("bat_tiny", **SMALL), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"] == "BAT"
    assert config["oscine_version"] == __version__
    assert config["config"] | SMALL == config["config"]


def test_saving_again_replaces_what_was_there(tmp_path):
    save_pretrained(create_model("bat_tiny", **SMALL), tmp_path)
    save_pretrained(create_model("bird_mae_tiny", **SMALL), tmp_path)
    assert type(create_model(f"local-dir:{tmp_path}")).__name__ == "BirdMAE"


def saved(folder: Path, **changes: object) -> str:
    """The name of an encoder saved in a folder, with changes to its config.json."""
    save_pretrained(create_model("bat_tiny", **SMALL), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return f"local-dir:{folder}"


def test_a_folder_brings_its_own_settings(tmp_path):
    name = saved(tmp_path)
    with pytest.raises(OscineError, match="overrides go with a name of the zoo"):
        create_model(name, dim=64)
    with pytest.raises(OscineError, match="brings its own settings and weights"):
        create_model(name, checkpoint_path=tmp_path / "model.safetensors")


def test_a_folder_without_an_encoder_is_named(tmp_path):
    with pytest.raises(OscineError, match=rf"no encoder in {tmp_path}.*config.json and model.safetensors"):
        create_model(f"local-dir:{tmp_path}")
    with pytest.raises(OscineError, match=r"no encoder in .*nowhere"):
        create_model(f"local-dir:{tmp_path}/nowhere")


def test_a_folder_without_weights_is_named(tmp_path):
    name = saved(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(OscineError, match=r"no weights at .*model.safetensors"):
        create_model(name)


def test_a_broken_config_is_named(tmp_path):
    name = saved(tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": ')
    with pytest.raises(OscineError, match=r"config.json is no JSON"):
        create_model(name)


def test_an_unknown_architecture_in_a_config_is_named(tmp_path):
    with pytest.raises(OscineError, match=r"config.json names the architecture 'CNN'; known are BAT, BirdMAE"):
        create_model(saved(tmp_path, architecture="CNN"))


def test_an_unknown_setting_in_a_config_is_named(tmp_path):
    with pytest.raises(OscineError, match=r"BAT has no setting width"):
        create_model(saved(tmp_path, config=SMALL | {"width": 48}))


def test_a_config_that_does_not_fit_the_weights_is_refused(tmp_path):
    with pytest.raises(OscineError, match=r"model.safetensors does not fit BAT: tensors .* of another shape"):
        create_model(saved(tmp_path, config=SMALL | {"dim": 64}))


@pytest.mark.parametrize("text", ["[]", "{}", '{"architecture": "BAT"}', '{"architecture": "BAT", "config": [1]}'])
def test_a_config_of_another_form_is_refused(tmp_path, text):
    name = saved(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(OscineError, match=r"config.json"):
        create_model(name)
