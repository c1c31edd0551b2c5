"""Exported encoders: onnxruntime finds in every clip what PyTorch finds, and the file says what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import oscine
from oscine.models.audio.load import load_audio, split_clips
from oscine.models.encoders.audio_mae import AudioMAE
from oscine.models.encoders.audiomosaic import AudioMosaic
from oscine.models.encoders.base import onnx_file
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.onnx_file import session_of
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.beats import BEATs
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.models.encoders.eat import EAT
from oscine.models.errors import OscineError
from oscine.models.export import onnx as export
from oscine.models.export import onnx_frontend
from oscine.models.export.onnx import export_onnx, onnx_bytes, seconds_of
from oscine.models.export.onnx_frontend import MelPower, framed, graph_of
from oscine.models.hub.folder import save_pretrained
from oscine.models.locks import lock_output
from oscine.models.zoo import create_model
from tests.tiny_encoders import tiny_convnext

SMALL = {"dim": 48, "depth": 2, "heads": 4}
ENCODERS = {
    "BirdMAE": lambda: BirdMAE(**SMALL, seconds=1.0),
    "BAT": lambda: BAT(**SMALL, seconds=1.0),
    "BAT at 32 kHz": lambda: BAT(**SMALL, seconds=0.5, sample_rate=32_000, n_fft=2048, hop=320),
    "EAT": lambda: EAT(**SMALL, seconds=1.0),
    "BEATs": lambda: BEATs(**SMALL, seconds=1.0, patch_dim=32, conv_width=16, conv_groups=4),
    "AudioMAE": lambda: AudioMAE(**SMALL, seconds=1.0, frames=128),
    "ConvNeXt": tiny_convnext,
    "AudioMosaic": lambda: AudioMosaic(**SMALL, seconds=1.0, frames=128),
}


class Exported:
    """An encoder with weights that matter, beside its file in onnxruntime."""

    def __init__(self, encoder: Encoder) -> None:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():  # biases and norms begin as nothing, where a mistake could hide
            for weight in encoder.parameters():
                weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
        self.encoder = encoder.eval()
        self.content = onnx_bytes(encoder)
        self.session = session_of(self.content, threads=1)

    def __call__(self, waveform: Tensor) -> Tensor:
        return torch.from_numpy(self.session.run(["embedding"], {"waveform": waveform.numpy()})[0])

    def expected(self, waveform: Tensor) -> Tensor:
        with torch.no_grad():
            return self.encoder(waveform).pooled


# Of each kind of frontend and of blocks one is left; the filter bank of any rate is compared below, too.
SLOW = ("BAT at 32 kHz", "EAT", "AudioMAE", "AudioMosaic")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in ENCODERS],
)
def exported(request: pytest.FixtureRequest) -> Exported:
    torch.manual_seed(0)
    return Exported(ENCODERS[request.param]())


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small(seconds: float = 0.5) -> Encoder:
    torch.manual_seed(0)
    return BAT(dim=16, depth=1, heads=2, seconds=seconds).eval()


@pytest.mark.parametrize("clips", [1, 2, 5])
def test_the_file_gives_what_the_encoder_gives_in_batches_of_any_size(exported: Exported, clips: int) -> None:
    waveform = 0.1 * noise(clips, exported.encoder.samples, seed=clips)
    assert_close(exported(waveform), exported.expected(waveform), atol=1e-4, rtol=0)


@pytest.mark.parametrize("level", [1.0, 1e-2, 1e-4, 1e-6])
def test_loud_and_hardly_audible_clips_come_out_the_same(exported: Exported, level: float) -> None:
    waveform = level * noise(2, exported.encoder.samples)
    assert_close(exported(waveform), exported.expected(waveform), atol=1e-4, rtol=0)


@pytest.mark.parametrize("level", [0.0, 9830 / 2**15, -1.0])
def test_silence_and_a_constant_voltage_come_out_the_same(exported: Exported, level: float) -> None:
    waveform = torch.full((2, exported.encoder.samples), level)
    assert exported(waveform).isfinite().all()
    assert_close(exported(waveform), exported.expected(waveform), atol=1e-4, rtol=0)


def test_sound_that_begins_after_silence_on_an_offset_comes_out_the_same(exported: Exported) -> None:
    waveform = 0.1 * noise(3, exported.encoder.samples)
    waveform[0, : exported.encoder.samples // 2] = 0.0
    waveform[1] += 0.5
    waveform[2, ::100] = 1.0
    assert_close(exported(waveform), exported.expected(waveform), atol=1e-4, rtol=0)


def test_a_clip_does_not_depend_on_its_batch(exported: Exported) -> None:
    quiet, loud = 1e-3 * noise(1, exported.encoder.samples), noise(1, exported.encoder.samples, seed=1)
    assert_close(exported(torch.cat([quiet, loud]))[:1], exported(quiet), atol=1e-5, rtol=0)


def test_clips_that_differ_get_embeddings_that_differ(exported: Exported) -> None:
    first, second = exported(0.1 * noise(2, exported.encoder.samples))
    assert (first - second).abs().max() > 1e-3


def test_real_recordings_come_out_the_same(exported: Exported, recordings: Path) -> None:
    files = sorted((recordings / "formats").glob("*.wav"))[:4]
    assert files
    samples = exported.encoder.samples
    clips = [split_clips(load_audio(file, exported.encoder.sample_rate), samples)[:2] for file in files]
    waveform = torch.cat(clips)
    assert_close(exported(waveform), exported.expected(waveform), atol=1e-4, rtol=0)


def test_the_file_passes_the_format_s_own_check_and_holds_every_operator_itself(exported: Exported) -> None:
    model = onnx.load_from_string(exported.content)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", export.OPSET)]
    assert not model.functions


def test_the_file_is_the_weights_and_little_else(exported: Exported) -> None:
    weights = sum(4 * weight.numel() for weight in exported.encoder.parameters())
    assert weights < len(exported.content) < weights + 2 * 2**20  # the tables of a frontend


def test_the_file_names_no_place_on_this_machine(exported: Exported) -> None:
    model = onnx.load_from_string(exported.content)
    for tensor in model.graph.initializer:  # numbers, which could be any bytes
        tensor.ClearField("raw_data")
    text = model.SerializeToString()
    assert str(Path(oscine.__file__).parent).encode() not in text
    assert b"stack_trace" not in text


def test_input_and_output_have_their_names_and_a_free_batch(exported: Exported) -> None:
    (given,), (gives,) = exported.session.get_inputs(), exported.session.get_outputs()
    assert (given.name, given.shape, given.type) == ("waveform", ["batch", exported.encoder.samples], "tensor(float)")
    assert (gives.name, gives.shape, gives.type) == ("embedding", ["batch", exported.encoder.dim], "tensor(float)")


def test_the_metadata_say_how_to_cut_clips_and_what_the_model_is(exported: Exported) -> None:
    encoder = exported.encoder
    facts = exported.session.get_modelmeta().custom_metadata_map
    assert int(facts["sample_rate"]) == encoder.sample_rate
    assert int(facts["samples"]) == encoder.samples
    assert float(facts["sample_duration"]) == encoder.seconds
    assert int(float(facts["sample_duration"]) * int(facts["sample_rate"])) == encoder.samples  # as readers reckon
    assert int(facts["dim"]) == encoder.dim
    assert json.loads(facts["config"]) == encoder.config
    assert json.loads(facts["classes"]) == []
    assert facts["embedding_outputs_key"] == "embedding"
    assert facts["model"] == facts["architecture"] == type(encoder).__name__
    assert facts["oscine_version"] == oscine.__version__


def test_the_metadata_say_where_the_weights_came_from(tmp_path: Path) -> None:
    save_pretrained(small(), tmp_path / "saved")
    encoder = create_model(f"local-dir:{tmp_path / 'saved'}")
    facts = export.metadata(encoder)
    assert facts["model"] == "local-dir:saved", "not where it lay"
    assert encoder.provenance is not None
    assert facts["weights_sha256"] == encoder.provenance["sha256"]
    assert "weights_revision" not in facts


@pytest.mark.parametrize(
    ("n_fft", "hop", "seconds"), [(1024, 160, 1.0), (1000, 160, 0.7), (2048, 200, 0.33), (1200, 77, 0.1)]
)
def test_the_transform_of_any_length_is_the_frontend_s(n_fft: int, hop: int, seconds: float) -> None:
    frontend = BAT(dim=16, depth=1, heads=2, n_fft=n_fft, hop=hop, seconds=seconds).frontend
    waveform = 0.1 * noise(3, round(seconds * 16_000))
    assert_close(graph_of(frontend)(waveform), frontend(waveform), atol=1e-5, rtol=0)


@pytest.mark.parametrize("sample_rate", [16_000, 22_050, 32_000, 44_100, 48_000])
def test_the_filter_bank_of_any_rate_is_the_frontend_s(sample_rate: int) -> None:
    frontend = BirdMAE(dim=16, depth=1, heads=2, sample_rate=sample_rate, seconds=0.3).frontend
    waveform = 0.1 * noise(2, round(0.3 * sample_rate))
    assert_close(graph_of(frontend)(waveform), frontend(waveform), atol=2e-4, rtol=0)


def test_frames_overlap_as_unfolded_ones() -> None:
    waveform = noise(2, 1000)
    frames = framed(waveform, length=80, hop=32, columns=16)
    assert_close(frames.permute(1, 2, 0, 3).flatten(2), waveform.unfold(1, 80, 32), atol=0, rtol=0)


def test_mel_powers_are_those_of_the_discrete_transform() -> None:
    window, filters = noise(80).double(), noise(65, 128, seed=1).abs()
    frames = noise(2, 9, 80, seed=2)
    power = torch.fft.rfft(frames.double() * window, n=128).abs().square() @ filters.double()
    mel = MelPower(window.float(), n_fft=128, hop=32, filters=filters)
    ours = mel(frames.unflatten(2, (-1, mel.columns)).permute(2, 0, 1, 3))
    assert_close(ours.double(), power, atol=0, rtol=1e-5)


def test_the_file_is_written_alone_and_nothing_is_said_of_an_encoder_that_stays_in_training(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    encoder = BAT(dim=16, depth=2, heads=2, seconds=0.5, drop_path=0.5).train()
    path = export_onnx(encoder, tmp_path / "bat.onnx")
    assert capfd.readouterr() == ("", "")
    assert path == tmp_path / "bat.onnx"
    assert [file.name for file in tmp_path.iterdir()] == ["bat.onnx"]
    assert encoder.training
    session = session_of(str(path), threads=1)
    waveform = 0.1 * noise(2, encoder.samples)
    with torch.no_grad():
        expected = encoder.eval()(waveform).pooled
    assert_close(torch.from_numpy(session.run(None, {"waveform": waveform.numpy()})[0]), expected, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def content() -> bytes:
    """The file of the small encoder, which takes seconds to make."""
    return onnx_bytes(small())


def test_a_file_that_differs_is_not_written(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "onnx_bytes", lambda *_: content)
    other = small()
    with torch.no_grad():
        other.blocks[-1].norm2.bias += 2e-4
    with pytest.raises(OscineError, match=r"differs from PyTorch by 2\.\de-04.*nothing was written"):
        export_onnx(other, tmp_path / "bat.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_gives_no_number_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(onnx_frontend.DecibelGraph):
        def forward(self, waveform: Tensor) -> Tensor:
            return super().forward(waveform) / waveform.abs().amax(1)[:, None, None].clamp(max=1e-30) * 1e-30

    monkeypatch.setattr(onnx_frontend, "DecibelGraph", Silent)
    with pytest.raises(OscineError, match="differs from PyTorch by nan"):
        export_onnx(small(), tmp_path / "bat.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_and_what_was_there(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "onnx_bytes", lambda *_: content)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    export_onnx(small(), tmp_path / "bat.onnx")
    before = (tmp_path / "bat.onnx").read_bytes()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OscineError, match="No space left on device"):
        export_onnx(small(), tmp_path / "bat.onnx", overwrite=True)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]


def test_a_file_that_another_process_writes_or_another_program_wrote_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "bat.onnx"
    with lock_output(out, "wait"), pytest.raises(OscineError, match=r"is writing .*bat\.onnx; wait for it, or choose"):
        export_onnx(small(), out)
    others = onnx.helper.make_model(
        onnx.helper.make_graph([], "oscine", [], []), producer_name="pytorch", doc_string="from oscine"
    ).SerializeToString()
    assert b"oscine" in others[:256]
    out.write_bytes(others)
    with pytest.raises(OscineError, match=r"bat\.onnx was not written by oscine, and is not replaced"):
        export_onnx(small(), out, overwrite=True)
    assert out.read_bytes() == others


def test_bad_calls_are_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "onnx_bytes", lambda _: pytest.fail("worked"))
    (tmp_path / "there.onnx").write_bytes(b"")
    for name, reason in {
        "bat.pt": "ends in .onnx",
        "absent/bat.onnx": "there is no folder",
        "there.onnx": "exists already",
    }.items():
        with pytest.raises(OscineError, match=reason):
            export_onnx(small(), tmp_path / name)
    with pytest.raises(OscineError, match=r"weights are torch.bfloat16.*encoder.float\(\)"):
        export_onnx(small().bfloat16(), tmp_path / "bat.onnx")
    with torch.device("meta"):
        absent = BAT(dim=16, depth=1, heads=2)
    with pytest.raises(OscineError, match=r"the encoder is on meta.*encoder.cpu\(\)"):
        export_onnx(absent, tmp_path / "bat.onnx")


def test_an_encoder_too_large_for_one_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        huge = create_model("bird_mae_huge")
    assert sum(4 * weight.numel() for weight in huge.parameters()) > export.LARGEST
    with torch.device("meta"):
        large = create_model("bird_mae_large")
    assert sum(4 * weight.numel() for weight in large.parameters()) < export.LARGEST
    monkeypatch.setattr(export, "LARGEST", 1000)
    with pytest.raises(OscineError, match=r"BAT has .* GiB of weights, one ONNX file holds less than 2"):
        export_onnx(small(), tmp_path / "bat.onnx")


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_what_is_not_installed_is_named_with_the_remedy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = onnx_file.find_spec
    monkeypatch.setattr(onnx_file, "find_spec", lambda asked: None if asked == name else found(asked))
    with pytest.raises(OscineError, match=rf'^{name} is not installed; pip install "oscine\[onnx\]"'):
        export_onnx(small(), tmp_path / "bat.onnx")


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 250_000])
def test_readers_who_cut_by_seconds_come_to_the_samples_that_the_file_takes(rate: int) -> None:
    for samples in range(1, 5 * rate, 997):
        assert int(seconds_of(samples, rate) * rate) == samples
        assert seconds_of(samples, rate) == pytest.approx(samples / rate)
