"""`oscine export NAME OUT.onnx`: write an encoder, and a probe on it, for programs without PyTorch."""

from __future__ import annotations

from pathlib import Path

from oscine.cli.console.command import say_loading


def export(
    model: str,
    out: Path,
    /,
    checkpoint: Path | None = None,
    probe: Path | None = None,
    random_weights: bool = False,
    overwrite: bool = False,
) -> None:
    """Write an encoder as one ONNX file: waveform in, pooled embedding out; with a probe, its logits as well.

    The input "waveform" is [batch, samples], float32 in [-1, 1]: any number of clips of exactly the encoder's length and
    sample rate, shorter ones filled up with 0 by the caller. The output "embedding" is [batch, dim], what
    Features.pooled is in Python. The file's metadata say sample_rate, samples, sample_duration (seconds), dim, model and
    more. It is written only if onnxruntime finds with it what PyTorch finds, within 1e-4.

    With --probe clips have the probe's length, and a second output "logits" is [batch, classes], calibrated if the probe is;
    the metadata name the classes, and as activation "softmax" or "sigmoid", which makes probabilities of them.

    Other programs: OpenSoundscape's ONNXModel(OUT) needs model.add_channel_dim = False; perch-hoplite's TaxonomyModelOnnx
    takes input_name="waveform", output_map={"embedding": "embedding"}, window_size_s as above and target_peak=None; with a
    probe also "logits": "logits" in the map, and the classes as class_list.

    Needs pip install "oscine[onnx]". Encoders of 2 GiB or more (bird_mae_huge) do not fit one file and are refused.

    Args:
        model: an encoder of the zoo (see oscine models), hf-hub:OWNER/REPOSITORY, or local-dir:PATH for one that was saved.
        out: the file to write, FILE.onnx.
        checkpoint: a file of weights for the encoder, instead of those that would be fetched.
        probe: folder of a probe that was fitted on this very encoder, or hf-hub:OWNER/REPOSITORY.
        random_weights: leave the encoder untrained, for tests; the file says so.
        overwrite: replace OUT if it exists.
    """
    from oscine.models.export.onnx_file import check_ready
    from oscine.models.zoo import check_encoder, open_encoder

    check_ready(out, overwrite)
    check_encoder(model, checkpoint, random_weights)
    if probe:
        from oscine.probe.deploy.named_probe import check_probe

        check_probe(probe)
    say_loading("export", model)

    from oscine.models.export.onnx import export_onnx

    encoder = open_encoder(model, checkpoint, random_weights)
    head = None
    if probe:
        from oscine.probe.deploy.onnx_head import make_onnx_head
        from oscine.probe.deploy.saved_probe import load_probe

        head = make_onnx_head(load_probe(probe, encoder))
    export_onnx(encoder, out, overwrite, head)
    samples = head.samples if head else encoder.samples
    print(
        f"{out}: waveform [batch, {samples}] at {encoder.sample_rate} Hz ({samples / encoder.sample_rate:g} s) to embedding "
        f"[batch, {encoder.dim}]{f' and logits [batch, {len(head.classes)}]' if head else ''}, "
        f"{out.stat().st_size / 1e6:.1f} MB, equal to PyTorch"
    )
