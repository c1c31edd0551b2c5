"""Encoders that are ONNX files: read whole, known by their hash, and alone with what is beside them."""

from __future__ import annotations

import copy
import json
import pickle
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import soundfile
import torch
from onnx import helper
from torch.testing import assert_close

from oscine.cli.console.command import call
from oscine.cli.encode.embed import embed
from oscine.models.embed.embed import embed_folder
from oscine.models.embed.extractor import EmbeddingExtractor
from oscine.models.encoders.base import onnx_file
from oscine.models.encoders.base.devices import moved
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.fingerprint import fingerprint
from oscine.models.encoders.onnx_encoder import ONNXEncoder
from oscine.models.errors import OscineError
from oscine.models.export.onnx import Head, export_onnx
from oscine.models.hub import onnx_data
from oscine.models.hub.folder import save_pretrained
from oscine.models.publish.upload import push_to_hub
from oscine.models.zoo import create_model
from oscine.probe.deploy.fitted_probe import keep_probe
from oscine.probe.deploy.saved_probe import load_probe, save_probe
from oscine.probe.features.embedding_table import read_embedded
from oscine.probe.features.encoding import Encoding, encode_task
from oscine.probe.features.store import open_store
from oscine.probe.fit.judge import judge
from oscine.probe.heads.attentive import AttentiveProbe
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.heads.probe import Needs
from oscine.probe.heads.registry import PROBES
from oscine.probe.tasks.task import Task
from tests.models.encoders.test_contract import LAST, SMALL, STEP, fit_of, folder_of, tuning_of
from tests.onnx_models import (
    CLASSES,
    DIM,
    FREQ,
    MAPPED,
    RATE,
    SAMPLES,
    SETTINGS,
    TIME,
    exported,
    small,
    write_small,
    write_with_data,
)
from tests.tiny_encoders import noise, small_encoder


def open_small(path: Path, **settings: Any) -> Encoder:
    return create_model(f"onnx-file:{path}", **MAPPED | settings)


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return open_small(write_small(tmp_path))


@pytest.fixture
def plain(tmp_path: Path) -> Encoder:
    return create_model(f"onnx-file:{write_small(tmp_path)}", **SETTINGS)


# What it computes


@pytest.mark.parametrize("kind", [{}, {"batch": 1}, {"batch": 3}, {"ratio": True}])
def test_features_are_what_torch_computes_in_every_batch(kind: dict[str, Any], tmp_path: Path) -> None:
    encoder, waveform = open_small(write_small(tmp_path, **kind)), noise(7, SAMPLES)
    with torch.no_grad():
        embedding, spatial, _ = small(ratio=kind.get("ratio", False))(waveform)
    for clips in (slice(7), slice(1), slice(3)):
        features = encoder(waveform[clips])
        assert_close(features.pooled, embedding[clips])
        assert_close(features.patches, spatial[clips][None])
        assert_close(features.cls, spatial[clips].mean((1, 2))[None])
    assert (encoder.grid, encoder.dim, encoder.depth) == ((TIME, FREQ), DIM, 1)
    assert encoder.step_seconds == encoder.seconds / TIME
    assert open_small(tmp_path / "small.onnx", step_seconds=0.07).step_seconds == 0.07


@pytest.mark.parametrize("kind", [{"half": True}, {"half": True, "half_input": True}])
def test_a_file_that_computes_in_float16_gives_float32(kind: dict[str, Any], tmp_path: Path) -> None:
    features = open_small(write_small(tmp_path, **kind))(noise(2, SAMPLES))
    assert features.pooled.dtype == torch.float32
    assert_close(features.pooled, small()(noise(2, SAMPLES))[0].detach(), atol=2e-3, rtol=0)


def test_without_a_map_the_vector_of_a_clip_is_its_only_patch(plain: Encoder) -> None:
    features = plain(noise(2, SAMPLES))
    assert not plain.spatial
    assert features.patches.shape == (1, 2, 1, 1, DIM)
    assert torch.equal(features.patches[0, :, 0, 0], features.pooled)


def test_clips_are_scaled_each_by_itself_and_silence_stays(tmp_path: Path) -> None:
    encoder = open_small(write_small(tmp_path), peak=0.25)
    clips = noise(4, SAMPLES) + 0.5
    clips[1] *= 1e-3
    clips[2], clips[3] = 0.0, 0.3
    made = encoder.prepare(clips)
    assert_close(made[:2].abs().amax(1), torch.full((2,), 0.25))
    assert_close(made.mean(1), torch.zeros(4), atol=1e-6, rtol=0)
    assert not made[2:].any()
    assert_close(made[0] * (clips[0] - clips[0].mean()).abs().max() / 0.25, clips[0] - clips[0].mean())
    short = encoder.prepare(clips[:1, :1000])  # filled up first, as the authors do
    assert_close(short[0, 1000:], short[0, -1].expand(SAMPLES - 1000))
    assert short[0, -1] < 0


# How it is kept


def test_it_is_saved_and_loaded_as_weights_are(encoder: Encoder, tmp_path: Path) -> None:
    save_pretrained(encoder, tmp_path / "saved")
    again = create_model(f"local-dir:{tmp_path / 'saved'}")
    assert again.config == encoder.config
    assert fingerprint(again) == fingerprint(encoder)
    assert torch.equal(again(noise(2, SAMPLES)).patches, encoder(noise(2, SAMPLES)).patches)
    assert json.loads((tmp_path / "saved/config.json").read_text())["config"]["patch_map"] == "spatial_embedding"


def test_it_is_copied_and_sent_to_other_processes_once_it_was_used(encoder: Encoder) -> None:
    expected = encoder(noise(2, SAMPLES)).pooled
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert torch.equal(other(noise(2, SAMPLES)).pooled, expected)


def test_it_is_published_as_weights_are(encoder: Encoder) -> None:
    said = push_to_hub(encoder, "robin/small", "cc-by-4.0", relicence=True, dry_run=True)
    assert "model.safetensors" in said
    assert "ONNXEncoder" in said


def test_what_is_an_onnx_file_already_is_not_written_again(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(
        OscineError, match=r"^onnx-file:.* is an ONNX file already and needs no export; take that file$"
    ):
        export_onnx(encoder, tmp_path / "again.onnx")
    head = Head(LinearProbe(encoder, 2, "mean"), [-1], ["owl", "wren"], encoder.samples, {})
    with pytest.raises(OscineError, match=r"is an ONNX file already, to which no probe can be added; oscine predict"):
        export_onnx(encoder, tmp_path / "again.onnx", head=head)
    assert not (tmp_path / "again.onnx").exists()


def test_another_file_than_the_one_of_the_config_is_not_opened(encoder: Encoder, tmp_path: Path) -> None:
    encoder.state_dict()["file"][-1] ^= 1
    with pytest.raises(OscineError, match=r"the ONNX file has sha256 \w{64}, its config says \w{64}; fetch"):
        encoder(noise(1, SAMPLES))
    with pytest.raises(OscineError, match=r"small\.onnx has sha256 \w{64}, expected 0{64}; fetch it again"):
        open_small(tmp_path / "small.onnx", sha256=64 * "0")


def test_an_encoder_that_has_computed_computes_with_no_other_file_than_its_own(tmp_path: Path) -> None:
    encoder = open_small(write_small(tmp_path))
    expected = encoder(noise(1, SAMPLES)).pooled
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    encoder.load_state_dict(before | {"file": before["file"].flip(0)})
    with pytest.raises(OscineError, match=r"the ONNX file has sha256 \w{64}, its config says \w{64}; fetch"):
        encoder(noise(1, SAMPLES))
    encoder.load_state_dict(before)
    assert torch.equal(encoder(noise(1, SAMPLES)).pooled, expected)


def test_an_encoder_without_a_file_says_what_would_do() -> None:
    with pytest.raises(
        OscineError, match=r"has no file yet; create_model\(NAME, pretrained=True\), or checkpoint_path"
    ):
        ONNXEncoder()(torch.zeros(1, 160_000))


def test_what_oscine_has_exported_says_all_of_itself(tmp_path: Path) -> None:
    bat = small_encoder()
    head = Head(LinearProbe(bat, 2, "mean").eval(), [-1], ["wren", "robin"], bat.samples, {"activation": "softmax"})
    export_onnx(bat, tmp_path / "bat.onnx", head=head)
    encoder = create_model(f"onnx-file:{tmp_path / 'bat.onnx'}")
    assert isinstance(encoder, ONNXEncoder)
    assert (encoder.sample_rate, encoder.samples, encoder.dim) == (bat.sample_rate, bat.samples, bat.dim)
    assert (encoder.classes, encoder.config["activation"]) == (["wren", "robin"], "softmax")
    clips = noise(3, bat.samples)
    assert_close(encoder(clips).pooled, bat(clips).pooled, atol=1e-4, rtol=0)
    assert_close(encoder.scoring()(clips).pooled, head.module(bat(clips, layers=[-1])), atol=1e-4, rtol=0)


# Data beside the file, and nothing else


def test_data_beside_the_file_is_taken_into_it(tmp_path: Path) -> None:
    encoder = open_small(write_with_data(tmp_path))
    (tmp_path / "small.onnx.data").unlink()
    save_pretrained(encoder, tmp_path / "saved")
    again = create_model(f"local-dir:{tmp_path / 'saved'}")
    assert_close(again(noise(2, SAMPLES)).pooled, small()(noise(2, SAMPLES))[0].detach())


def test_a_file_is_known_by_its_own_hash_before_its_data_is_looked_for(tmp_path: Path) -> None:
    path, data = write_with_data(tmp_path), tmp_path / "small.onnx.data"
    own = sha256(path.read_bytes()).hexdigest()
    encoder = open_small(path, sha256=own)
    assert encoder.config["sha256"] == own
    assert encoder.config["joined_sha256"] == sha256(bytes(encoder.state_dict()["file"].tolist())).hexdigest() != own
    assert (
        open_small(path, **{name: encoder.config[name] for name in ("sha256", "joined_sha256")}).config
        == encoder.config
    )
    with pytest.raises(OscineError, match=r"small\.onnx has joined_sha256 \w{64}, expected 0{64}; fetch it again"):
        open_small(path, joined_sha256=64 * "0")
    data.unlink()
    with pytest.raises(OscineError, match=r"small\.onnx has sha256 \w{64}, expected 0{64}; fetch it again"):
        open_small(path, sha256=64 * "0")


def test_the_weights_in_the_data_are_part_of_where_they_came_from(tmp_path: Path) -> None:
    path, data = write_with_data(tmp_path), tmp_path / "small.onnx.data"
    listed = "".join(f"{sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in (path, data))
    before = open_small(path)
    assert before.origin is not None
    assert before.provenance is not None
    assert before.origin.sha256 == before.provenance["sha256"] == sha256(listed.encode()).hexdigest()
    data.write_bytes(b"?" + data.read_bytes()[1:])
    after = open_small(path)
    assert after.origin is not None
    assert after.origin.sha256 != before.origin.sha256


def test_a_small_file_does_not_fill_the_memory_by_naming_the_same_numbers_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = write_with_data(tmp_path), tmp_path / "small.onnx.data"
    model, size = onnx.load(path, load_external_data=False), data.stat().st_size
    for tensor in model.graph.initializer:
        tensor.ClearField("external_data")
        for key, value in {"location": data.name, "offset": 0, "length": size}.items():
            tensor.external_data.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString())
    monkeypatch.setattr(onnx_data, "LARGEST", path.stat().st_size + 2 * size)
    monkeypatch.setattr(onnx_data, "take_in", None)  # nothing is read
    with pytest.raises(
        OscineError, match=r"small\.onnx has \d\.\d GiB with the data beside it, one ONNX file holds less"
    ):
        open_small(path)


@pytest.mark.parametrize("location", ["../small.onnx.data", "sub/small.onnx.data", "/etc/hostname", "..", "", "a\\b"])
def test_data_anywhere_else_is_refused(location: str, tmp_path: Path) -> None:
    path = write_with_data(tmp_path, location)
    with pytest.raises(
        OscineError, match=r"small\.onnx names data in .*, which is not beside it; nothing else is read"
    ):
        open_small(path)


def test_data_behind_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    path = write_with_data(tmp_path / "here")
    (tmp_path / "here/small.onnx.data").rename(tmp_path / "elsewhere")
    with pytest.raises(
        OscineError, match=r"keeps its weights in small\.onnx\.data, which is not beside it; put it there"
    ):
        open_small(path)
    (tmp_path / "here/small.onnx.data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OscineError, match="which is not beside it; nothing else is read"):
        open_small(path)


def test_data_that_was_cut_short_is_said(tmp_path: Path) -> None:
    path, data = write_with_data(tmp_path), tmp_path / "small.onnx.data"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(OscineError, match=r"small\.onnx\.data ends before the numbers of '.*'; fetch it again"):
        open_small(path)


def test_saved_weights_that_name_data_elsewhere_are_not_opened(tmp_path: Path) -> None:
    content = write_with_data(tmp_path).read_bytes()
    encoder = ONNXEncoder(DIM, **SETTINGS, file_bytes=len(content), joined_sha256=sha256(content).hexdigest())
    encoder.file = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
    with pytest.raises(OscineError, match=r"keeps its tensor '.*' in another file, which is not opened from here"):
        encoder(noise(1, SAMPLES))


# What cannot be


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"embedding": "vector"},
            r"has no output 'vector'; it has 0: embedding, 1: spatial_embedding, 2: label; give one",
        ),
        ({"input": "inputs"}, r"has no input 'inputs'; it has 0: waveform; give one"),
        ({"scores": 3}, r"has no output 3; it has 0: embedding"),
        ({"patch_map": "label"}, rf"patch_map is \[{CLASSES}\] a clip, expected \[time, freq, {DIM}\]"),
        ({"seconds": 1.0}, rf"takes clips of {SAMPLES} samples, 1 s at {RATE} Hz have {RATE}; give seconds=0\.5"),
        ({"activation": "relu"}, r"no activation 'relu'; choose from sigmoid, softmax, none"),
        ({"heads": 3}, r"ONNXEncoder has no setting heads"),
    ],
)
def test_settings_that_are_not_the_files_are_refused_in_a_line(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(OscineError, match=words) as error:
        open_small(write_small(tmp_path), **settings)
    assert "\n" not in str(error.value)


def test_a_file_that_says_too_little_names_what_to_give(tmp_path: Path) -> None:
    words = r"does not say what it takes; give sample_rate and seconds: oscine convert onnx-file:.* FOLDER --rate 32000"
    with pytest.raises(OscineError, match=words):
        create_model(f"onnx-file:{write_small(tmp_path)}")


def test_what_is_no_onnx_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("an error page of some server")
    with pytest.raises(OscineError, match=r"text\.onnx is no ONNX file"):
        open_small(tmp_path / "text.onnx")
    with pytest.raises(OscineError, match=r"no weights at .*gone\.onnx"):
        open_small(tmp_path / "gone.onnx")
    with pytest.raises(OscineError, match=r"expected the name of a file that ends in \.onnx"):
        create_model("onnx-file:weights.pt")
    with pytest.raises(OscineError, match=r"is an ONNX file, BAT takes tensors; create_model\('onnx-file:"):
        create_model("bat_tiny", checkpoint_path=write_small(tmp_path))


def test_onnxruntimes_own_format_is_refused_whose_data_nobody_looks_for(tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "small.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(exported(), options, providers=["CPUExecutionProvider"])
    (tmp_path / "small.onnx").write_bytes((tmp_path / "small.ort").read_bytes())
    with pytest.raises(OscineError, match=r"small\.onnx is no ONNX file that onnxruntime can open \("):
        open_small(tmp_path / "small.onnx")


def test_an_input_of_another_kind_is_refused(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(exported())
    model.graph.input[0].type.tensor_type.shape.dim.add(dim_value=1)
    model.graph.ClearField("value_info")
    (tmp_path / "image.onnx").write_bytes(model.SerializeToString())
    words = (
        r"image\.onnx takes 'waveform', a tensor\(float\) \[.batch., 4000, 1\]; expected a waveform \[clip, samples\]"
    )
    with pytest.raises(OscineError, match=words):
        open_small(tmp_path / "image.onnx")


def test_an_input_of_whole_numbers_is_refused(tmp_path: Path) -> None:
    numbers = helper.make_tensor_value_info("tokens", onnx.TensorProto.INT64, ["clip", SAMPLES])
    floats = helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["clip", SAMPLES])
    cast = helper.make_node("Cast", ["tokens"], ["embedding"], to=onnx.TensorProto.FLOAT)
    graph = helper.make_graph([cast], "tokens", [numbers], [floats])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "tokens.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        OscineError, match=r"takes 'tokens', a tensor\(int64\) .*; expected a waveform \[clip, samples\]"
    ):
        create_model(f"onnx-file:{tmp_path / 'tokens.onnx'}", **SETTINGS)


def test_it_is_not_trained(encoder: Encoder) -> None:
    assert not encoder.trainable


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_a_library_that_is_missing_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = onnx_file.find_spec
    monkeypatch.setattr(onnx_file, "find_spec", lambda asked: None if asked == name else found(asked))
    with pytest.raises(OscineError, match=rf'^{name} is not installed; pip install "oscine\[onnx\]"'):
        open_small(write_with_data(tmp_path))


def test_a_device_that_onnxruntime_lacks_is_refused_where_it_was_asked_for(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = r"onnxruntime \S+ cannot compute on cuda: it has .*CPUExecutionProvider; take the device cpu, or install"
    with pytest.raises(OscineError, match=words):
        moved(encoder, "cuda")
    monkeypatch.setattr("oscine.models.encoders.base.devices.choose_device", lambda device: "cuda")
    monkeypatch.setattr("oscine.models.encoders.base.devices.device_name", lambda device: "some GPU")
    assert moved(encoder, "auto").device.type == "cpu"


def test_a_gpu_is_named_by_its_number_and_no_other_takes_its_place(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "onnxruntime.get_available_providers",
        lambda: ["CUDAExecutionProvider", "CoreMLExecutionProvider", "CPUExecutionProvider"],
    )
    assert onnx_file.provider_of("cuda:1") == ("CUDAExecutionProvider", {"device_id": "1"})
    with pytest.raises(OscineError, match="cannot compute on mps"):
        onnx_file.provider_of("mps")
    assert onnx_file.provider_of("cpu") == ("CPUExecutionProvider", {})
    encoder.check_device("cuda")
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(OscineError, match="could not begin on cuda:1 and fell back to the CPU; take the device cpu"),
    ):
        onnx_file.session_of(exported(), device="cuda:1")


# What is built for it


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_reads_a_map_and_those_that_compare_patches_refuse_one_vector(
    name: str, encoder: Encoder, plain: Encoder, task: Task
) -> None:
    for one in (encoder, plain):
        make = partial(PROBES[name], one, len(task.classes), **SMALL.get(name, {}))
        if PROBES[name].spatial and not one.spatial:
            with pytest.raises(OscineError, match=f"{name} compares the patches of a clip, ONNXEncoder has one vector"):
                make()
            continue
        judgement = judge(make, encode_task(one, task, make().needs), task, STEP)
        assert all(logits.isfinite().all() for logits in judgement.logits)


def test_a_store_and_a_table_have_the_numbers_that_encoding_gives(encoder: Encoder, task: Task, tmp_path: Path) -> None:
    usual = encode_task(encoder, task, LAST, batch_size=5)
    kept = open_store(Encoding(encoder, task, LAST, batch_size=3), tmp_path / "store").take(
        torch.arange(len(task.rows))
    )
    for one, other in zip(kept, usual, strict=True):
        assert_close(one, other, atol=1e-3, rtol=1e-3)
    table = tmp_path / "table.parquet"
    embed_folder(EmbeddingExtractor(encoder, [-1], ("pooled", "cls")), folder_of(task), table, workers=2)
    read = read_embedded(table, encoder, task, Needs(layers=[-1], parts=("pooled",)))
    assert_close(read.pooled, usual.pooled, atol=1e-5, rtol=0)


def test_no_numbers_for_silence_are_an_error_that_names_the_clip_and_what_would_do(tmp_path: Path) -> None:
    encoder = open_small(write_small(tmp_path, ratio=True))
    folder = tmp_path / "night"
    folder.mkdir()
    soundfile.write(folder / "owl.wav", np.concatenate([noise(SAMPLES).numpy(), np.zeros(SAMPLES)]), RATE)
    words = r"makes of owl\.wav from 0\.5 s is not finite; its file has no numbers for that.*take the one in float32"
    with pytest.raises(OscineError, match=words):
        embed_folder(encoder, folder, tmp_path / "table.parquet", workers=0)


def test_a_fitted_probe_brings_its_file_along_or_finds_it_by_its_path(
    encoder: Encoder, task: Task, tmp_path: Path
) -> None:
    fit = fit_of(encoder, task, AttentiveProbe)
    fitted = keep_probe(fit, fit.judge())
    for folder, beside in ((tmp_path / "beside", None), (tmp_path / "alone", False)):
        save_probe(fitted, folder, with_encoder=beside)
        assert (folder / "encoder").exists() == (beside is None)
        loaded = load_probe(folder)
        assert torch.equal(loaded(noise(2, SAMPLES)), fitted(noise(2, SAMPLES)))


def test_fine_tuning_refuses_in_a_line(encoder: Encoder, task: Task) -> None:
    with pytest.raises(OscineError, match="ONNXEncoder cannot be fine-tuned: no gradients reach its weights"):
        tuning_of(encoder, task)


def test_every_command_opens_a_folder_of_it(encoder: Encoder, task: Task, tmp_path: Path) -> None:
    save_pretrained(encoder, tmp_path / "saved")
    arguments = [
        str(folder_of(task)),
        "--model",
        f"local-dir:{tmp_path / 'saved'}",
        "--out",
        str(tmp_path / "table.csv"),
    ]
    assert call(embed, arguments) == 0
    assert len(pd.read_csv(tmp_path / "table.csv")) == len(task.rows)
