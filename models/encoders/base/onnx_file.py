"""Open ONNX files with onnxruntime, and look into them; both libraries are of an extra and imported when used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from oscine.models.errors import OscineError
from oscine.models.json_text import one_line

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def names_classes(settings: Mapping[str, Any]) -> bool:
    """Return whether an ONNXEncoder of these settings is a classifier with names of its classes."""
    return settings.get("scores") is not None and bool(settings.get("class_bytes"))


def check_installed(*names: str) -> None:
    """Raise where one of the libraries that ONNX needs is not here."""
    for name in names:
        if find_spec(name) is None:
            raise OscineError(f'{name} is not installed; pip install "oscine[onnx]" brings all that ONNX needs')


def provider_of(device: str) -> tuple[str, dict[str, str]]:
    """Return what onnxruntime calls a device, such as cuda:1, with its options; raise where it cannot compute there."""
    check_installed("onnxruntime")
    import onnxruntime

    there = onnxruntime.get_available_providers()
    kind, _, number = device.partition(":")
    provider = PROVIDERS.get(kind, "")
    if provider not in there:
        raise OscineError(
            f"onnxruntime {onnxruntime.__version__} cannot compute on {device}: it has {', '.join(there)}; take the "
            "device cpu, or install the onnxruntime of that device, such as onnxruntime-gpu"
        )
    return provider, {"device_id": number} if number else {}


def session_of(content: bytes | str, threads: int = 0, device: str = "cpu") -> Any:
    """Open an onnxruntime session on a device; 0 threads are as many as there are cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    options.add_session_config_entry("session.load_model_format", "ONNX")  # not its own, of which `parse` knows nothing
    provider = provider_of(device)
    session = onnxruntime.InferenceSession(content, options, providers=[provider])
    if provider[0] not in session.get_providers():  # onnxruntime warns, and takes the CPU
        raise OscineError(f"onnxruntime could not begin on {device} and fell back to the CPU; take the device cpu")
    return session


def parse(content: bytes, source: object) -> Any | None:
    """Return the graph that the bytes of a file hold, an onnx.ModelProto; None where no data lies in another file.

    Whatever does has the key "location" in the file: most are not parsed at all, which takes as much memory again.
    """
    if b"location" not in content:
        return None
    check_installed("onnx")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise OscineError(f"{source} is no ONNX file ({one_line(error)}); fetch it again, or check its name") from None
    return model if any(tensors_outside(model)) else None


def tensors_outside(message: Any) -> Iterator[Any]:
    """Yield every tensor of a graph, wherever in it, whose numbers lie in another file."""
    import onnx

    if isinstance(message, onnx.TensorProto):
        if message.data_location == onnx.TensorProto.EXTERNAL or message.external_data:
            yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from tensors_outside(part)


def location_of(tensor: Any) -> dict[str, str]:
    """Return where a tensor outside says its numbers are: location, offset, length."""
    return {entry.key: entry.value for entry in tensor.external_data}
