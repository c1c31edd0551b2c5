"""`oscine convert NAME OUT`: turn an official checkpoint into a folder in oscine's layout."""

from __future__ import annotations

from pathlib import Path

from oscine.cli.console.command import say_loading


def convert(name: str, out: Path, /, checkpoint: Path | None = None, prefix: str = "") -> None:
    """Turn an official checkpoint into a folder that create_model("local-dir:OUT") loads and oscine publish takes.

    Names and tensors become oscine's, strictly; nothing that the file names is run. Beside model.safetensors and config.json
    lies source.json: the file, its hash, and the licence that its authors state, which publishing carries along.

    Args:
        name: as oscine models --pretrained lists it, such as bird_mae_base.xcl or beats_base.as2m.
        out: the folder to write; new or empty.
        checkpoint: the authors' file; without, it is fetched from their repository on the Hub.
        prefix: with which the names of the encoder's tensors begin in a file that holds more, such as "teacher.".
    """
    from oscine.models.publish.convert import check_conversion, convert_checkpoint

    source = check_conversion(name, out, checkpoint, prefix)
    say_loading("convert", source.name)
    folder = convert_checkpoint(name, out, checkpoint, prefix=prefix)
    print(f"{folder}: {source.name}, licence {source.licence}; create_model('local-dir:{folder}') loads it")
