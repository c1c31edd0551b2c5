"""Encoders by name, and as folders: made, saved, loaded."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest
import torch

from oscine import __version__
from oscine.models.checkpoints import ARCHITECTURES
from oscine.models.encoders.base.spectral_encoder import SpectralEncoder
from oscine.models.errors import OscineError
from oscine.models.files import file_hash
from oscine.models.hub.encoder_files import ENCODER_SETTINGS
from oscine.models.hub.folder import ENCODERS, save_pretrained
from oscine.models.zoo import create_model, list_models

SMALL = {"dim": 48, "depth": 2, "heads": 4, "seconds": 1.0}


@pytest.mark.parametrize("name", [name for name in list_models() if not ARCHITECTURES[name].of_a_file])
def test_every_listed_model_can_be_made_and_is_in_eval_mode(name):
    with torch.device("meta"):
        encoder = create_model(name)
    assert not encoder.training
    if hasattr(encoder, "heads"):
        assert encoder.dim // encoder.heads in (64, 80)


def test_a_name_with_a_tag_has_random_weights_until_they_are_asked_for():
    with torch.device("meta"):
        encoder = create_model("bird_mae_base.xcl")
    assert getattr(encoder, "provenance", None) is None


def test_settings_of_an_architecture_can_be_overridden():
    encoder = create_model("bat_tiny", **SMALL | {"seconds": 2.55, "drop_path": 0.1})
    assert (encoder.dim, encoder.depth, encoder.samples, encoder.grid) == (48, 2, 40_800, (16, 8))
    assert encoder.config["drop_path"] == 0.1


def test_an_encoder_without_classes_is_what_every_encoder_is(tmp_path):
    assert create_model("bat_tiny", num_classes=0).config == create_model("bat_tiny").config
    save_pretrained(create_model("bat_tiny"), tmp_path)
    assert create_model(f"local-dir:{tmp_path}", num_classes=0).config == create_model("bat_tiny").config


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        (
            "num_classes",
            10,
            r"num_classes=10 is a setting of timm's; encoders have no classifier; the probes of oscine\.probe",
        ),
        ("in_chans", 1, r"encoders take mono waveforms; load_audio mixes .* leave in_chans out"),
        ("global_pool", "", r"features\.pooled, features\.cls, features\.patches; leave global_pool out"),
        (
            "features_only",
            True,
            r"encoder\(waveform, layers=\[0, 5\]\) returns .* encoders of spectrograms have timm's forward_intermediates",
        ),
        ("out_indices", (1, 2), r"encoder\(waveform, layers="),
    ],
)
def test_settings_of_timms_are_told_what_says_the_same(setting, value, advice):
    with pytest.raises(OscineError, match=advice):
        create_model("bat_tiny", **{setting: value})


def test_timms_way_to_layers_is_offered_by_encoders_of_spectrograms_and_by_no_other():
    kinds = [ENCODERS[row.encoder] for row in ARCHITECTURES.values()]
    having = {kind for kind in kinds if hasattr(kind, "forward_intermediates")}
    assert having == {kind for kind in kinds if issubclass(kind, SpectralEncoder)} < {*kinds}


@pytest.mark.parametrize("name", ENCODER_SETTINGS)
def test_settings_are_known_without_torch_as_the_class_has_them(name):
    assert set(inspect.signature(ENCODERS[name]).parameters) == set(ENCODER_SETTINGS[name])


def test_an_unknown_setting_is_refused_with_what_was_meant():
    with pytest.raises(OscineError, match=r"BAT has no setting haeds; did you mean heads\? it has dim, depth"):
        create_model("bat_tiny", haeds=3)


def test_an_unknown_setting_is_refused_with_the_known_ones():
    with pytest.raises(OscineError, match=r"BAT has no setting colour, width; it has dim, depth, heads"):
        create_model("bat_tiny", width=48, colour="red")


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        ({"dim": "48"}, "int"),
        ({"dim": 48.0}, "int"),
        ({"depth": True}, "int"),
        ({"heads": None}, "int"),
        ({"dim": [48]}, "int"),
        ({"seconds": "1.0"}, "float"),
        ({"drop_path": False}, "float"),
        ({"seconds": float("nan")}, "float"),
        ({"mlp_ratio": float("inf")}, "float"),
    ],
)
def test_a_setting_of_another_type_is_refused(setting, kind):
    [(name, value)] = setting.items()
    with pytest.raises(OscineError, match=rf"^BAT cannot have {name}={re.escape(repr(value))}; expected {kind}$"):
        create_model("bat_tiny", **setting)


def test_a_whole_number_will_do_for_a_fraction():
    assert create_model("bat_tiny", **SMALL | {"seconds": 1}).samples == 16_000


@pytest.mark.parametrize(
    "setting", [{"heads": 0}, {"dim": -48}, {"depth": -1}, {"sample_rate": 0}, {"mlp_ratio": -4.0}, {"hop": 0}]
)
def test_a_size_that_cannot_be_is_refused_in_one_line(setting):
    with pytest.raises(OscineError) as caught:
        create_model("bat_tiny", **SMALL | setting)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["bat_tiny", "bird_mae_tiny", "eat_base", "beats_base", "audio_mae_base", "audiomosaic_tiny"]
)
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
    assert loaded.provenance == {
        "model": f"local-dir:{tmp_path}/new/folder",
        "repository": None,
        "revision": None,
        "sha256": file_hash(tmp_path / "new" / "folder" / "model.safetensors"),
    }
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


def test_the_folder_of_a_run_opens_the_encoder_in_it(tmp_path):
    encoder = save_pretrained(create_model("bat_tiny", **SMALL), tmp_path / "run" / "encoder")
    loaded = create_model(f"local-dir:{tmp_path}/run")
    assert loaded.provenance == create_model(f"local-dir:{encoder}").provenance


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
    with pytest.raises(OscineError, match=r"config.json: unknown architecture 'CNN'; known are BAT, BirdMAE"):
        create_model(saved(tmp_path, architecture="CNN"))


def test_an_unknown_setting_in_a_config_is_named(tmp_path):
    with pytest.raises(OscineError, match=r"BAT has no setting width"):
        create_model(saved(tmp_path, config=SMALL | {"width": 48}))


def test_a_config_that_does_not_fit_the_weights_is_refused(tmp_path):
    with pytest.raises(OscineError, match=r"model.safetensors does not fit BAT: tensors .* of another shape"):
        create_model(saved(tmp_path, config=SMALL | {"dim": 64}))


@pytest.mark.parametrize("architecture", [None, ["BAT"], 7])
def test_an_architecture_that_is_no_name_is_refused(tmp_path, architecture):
    with pytest.raises(OscineError, match=r"config.json: unknown architecture"):
        create_model(saved(tmp_path, architecture=architecture))


def test_a_setting_of_another_type_in_a_config_is_named(tmp_path):
    with pytest.raises(OscineError, match=r"config.json: BAT cannot have dim='48'; expected int"):
        create_model(saved(tmp_path, config=SMALL | {"dim": "48"}))


@pytest.mark.parametrize("more", [{}, {"width": 48}])
def test_a_config_of_a_newer_oscine_asks_for_an_update_though_it_could_be_read(tmp_path, more):
    with pytest.raises(OscineError, match=r"config.json is of oscine 99\.0\.0, this is 0\.\S+; update oscine$"):
        create_model(saved(tmp_path, config=SMALL | more, oscine_version="99.0.0"))


@pytest.mark.parametrize("version", [__version__, "0.0.1", "", None, 0, [], f"{__version__}.dev3"])
def test_a_config_of_this_oscine_or_an_older_one_is_read(tmp_path, version):
    assert create_model(saved(tmp_path, oscine_version=version)).dim == 48


@pytest.mark.filterwarnings("ignore:Initializing zero-element", "ignore:At least one mel filterbank")
def test_whatever_stands_in_a_config_it_is_read_or_refused_in_one_line(tmp_path):
    """Every value in turn, in the place of every other kind of value."""
    name = saved(tmp_path)
    whole = json.loads((tmp_path / "config.json").read_text())
    refused = []
    for key in whole["config"]:
        for other in (None, True, -1, 0, 7, 1e308, 10**400, "x", [], [1], {}, {"a": 1}):
            (tmp_path / "config.json").write_text(json.dumps(whole | {"config": whole["config"] | {key: other}}))
            try:
                create_model(name)
            except OscineError as error:
                refused.append(str(error))
    assert len(refused) > 6 * len(whole["config"])
    assert not [message for message in refused if "\n" in message]
    (tmp_path / "config.json").write_text(100_000 * "[")
    with pytest.raises(OscineError, match=r"config.json is no JSON"):
        create_model(name)


@pytest.mark.parametrize("text", ["[]", "{}", '{"architecture": "BAT"}', '{"architecture": "BAT", "config": [1]}'])
def test_a_config_of_another_form_is_refused(tmp_path, text):
    name = saved(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(OscineError, match=r"config.json"):
        create_model(name)


HOSTILE = {
    "dim": [10**9, 2**40, 0, -4], "depth": [10**9, 10**30, 10**400, 0, -1], "heads": [10**9, 0],
    "mlp_ratio": [1e9, -1.0, 0.0],
    "drop_path": [1.0, 5, -0.1], "sample_rate": [0, -1, 2**31, 10**15], "seconds": [1e9, 1e300, 0, -1, 1e-12],
    "n_fft": [0, 10**9], "hop": [0, -5, 10**9],
}  # fmt: skip


@pytest.mark.parametrize(("setting", "number"), [(name, number) for name, some in HOSTILE.items() for number in some])
def test_a_number_that_no_encoder_has_is_refused_before_anything_is_allocated(setting, number, tmp_path):
    numbers = {"dim": 24, "depth": 1, "heads": 2} | {setting: number}
    config = {"architecture": "BAT", "oscine_version": "0.1.0", "config": numbers}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(OscineError, match=rf"config.json: BAT cannot have {setting}=") as caught:
        create_model(f"local-dir:{tmp_path}")
    assert len(str(caught.value)) < 400


def test_numbers_that_fit_alone_and_not_together_are_refused(tmp_path):
    for config, words in (
        ({"seconds": 3600.0, "sample_rate": 1_000_000}, "clips of 3.6e.09 samples"),
        ({"dim": 16_384, "depth": 256}, r"8.2\d*e.11 weights"),
    ):
        with pytest.raises(OscineError, match=words):
            create_model("bat_base", **config)


def test_sizes_that_the_weights_do_not_have_are_never_allocated(tmp_path):
    save_pretrained(create_model("bat_tiny", dim=24, depth=1, heads=2), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["config"] |= {"dim": 9216, "depth": 3}  # 12 GB
    (tmp_path / "config.json").write_text(json.dumps(config))
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(OscineError, match=r"does not fit BAT: tensors .* missing"):
        create_model(f"local-dir:{tmp_path}")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


def test_a_run_without_an_encoder_is_named_as_that(tmp_path):
    (tmp_path / "settings.yaml").write_text("method: BATPretraining\n")
    with pytest.raises(OscineError, match="has no encoder yet; resume it, or start another run from its newest state"):
        create_model(f"local-dir:{tmp_path}")
