"""List calls of every command, the plainest first: its help begins with them, and a test reads them."""

from __future__ import annotations

EXAMPLES = {  # by the command
    "quickstart": [
        "oscine quickstart",
        "oscine quickstart --table labels.csv --out runs/mine",
        "oscine quickstart --steps 1500",
    ],
    "chorus": [
        "oscine chorus chorus",
        "oscine chorus chorus --seed 1",
        "oscine chorus small --clips 3",
    ],
    "models": [
        "oscine models",
        "oscine models --pretrained",
        "oscine models bird_mae",
    ],
    "pretrain": [
        "oscine pretrain bird_mae_tiny --data.recordings FOLDER",
        "oscine pretrain bird_mae_tiny --data.recordings FOLDER --resume",
        "oscine pretrain bat_base --data.recordings FOLDER --trainer.devices 4",
    ],
    "probe": [
        "oscine probe linear --encoder bird_mae_tiny --table labels.csv",
        "oscine probe linear --encoder bird_mae_tiny --data FOLDER --task.name folder",
        "oscine probe cgp --encoder bat_base.as2m --table labels.csv --fit.lr 3e-3",
    ],
    "compare": [
        "oscine compare runs/probe",
        "oscine compare --task hsn",
        "oscine compare runs/probe/linear --paired runs/probe/cgp",
    ],
    "label": [
        "oscine label page birds.parquet --recordings FOLDER --classes birds.txt",
        "oscine label suggest birds.parquet --count 50 --out queue.csv",
        "oscine label combine labels/*.jsonl --recordings FOLDER --out labels.csv",
    ],
    "label page": [
        "oscine label page birds.parquet --recordings FOLDER --classes birds.txt",
        "oscine label page a.parquet --recordings FOLDER --classes a.txt --one-label",
        "oscine label page a.parquet --recordings FOLDER --classes a.txt --name anna",
    ],
    "label suggest": [
        "oscine label suggest birds.parquet --out queue.csv",
        "oscine label suggest birds.parquet --out queue.csv --probe PROBE --count 100",
        "oscine label suggest a.parquet --out a.csv --recordings FOLDER --raven a.txt",
    ],
    "label read": [
        "oscine label read queue.csv --table birds.parquet",
        "oscine label read queue.csv --table birds.parquet --classes birds.txt",
        "oscine label read queue.txt --table birds.parquet --recordings FOLDER",
        "oscine label read SEGMENTS --table birds.parquet",
    ],
    "label combine": [
        "oscine label combine labels/*.jsonl --recordings FOLDER --out labels.csv",
        "oscine label combine votes.csv --out labels.csv --embeddings birds.parquet",
        "oscine label combine votes.csv --out labels.csv --method dawid_skene",
    ],
    "label simulate": [
        "oscine label simulate birds.parquet --table labels.csv --out runs/label/birds",
        "oscine label simulate a.parquet b.parquet --table birds.csv --out OUT",
        "oscine label simulate a.parquet --table a.csv --out OUT --suite activeglae",
    ],
    "embed": [
        "oscine embed FOLDER --model bird_mae_tiny --out birds.parquet",
        "oscine embed FOLDER --model bird_mae_tiny --out birds.csv",
        "oscine embed FOLDER --model bird_mae_base.xcl --hop 2.5 --out birds.parquet",
    ],
    "predict": [
        "oscine predict FOLDER --probe runs/probe/linear/probe --out birds.parquet",
        "oscine predict FOLDER --probe PROBE --out birds.parquet --detections birds.txt",
        "oscine predict FOLDER --probe convnext_base.xcl --classes mine.txt --out b.csv",
    ],
    "merge": [
        "oscine merge all.parquet one.parquet two.parquet",
        "oscine merge all.csv one.parquet two.parquet three.parquet",
        "oscine merge all.parquet one.parquet two.parquet --overwrite",
    ],
    "export": [
        "oscine export bird_mae_tiny birds.onnx",
        "oscine export bird_mae_tiny birds.onnx --probe runs/probe/linear/probe",
        "oscine export local-dir:runs/mine/encoder mine.onnx --overwrite",
    ],
    "shards": [
        "oscine shards FOLDER OUT --rate 32000",
        "oscine shards FOLDER OUT --rate 16000 --format ogg --size 500MB",
        "oscine shards --check OUT",
    ],
    "download": [
        "oscine download bird_mae_base.xcl",
        "oscine download bat_base.as2m eat_base.as2m",
        "oscine download hf-hub:OWNER/NAME",
    ],
    "convert": [
        "oscine convert bird_mae_base.xcl OUT",
        "oscine convert beats_base.as2m OUT --checkpoint BEATs_iter3.pt",
        "oscine convert onnx-file:mine.onnx OUT --rate 32000 --seconds 5",
    ],
    "doctor": [
        "oscine doctor",
        "oscine doctor --json",
    ],
    "publish": [
        "oscine publish runs/mine OWNER/NAME --licence mit --dry-run",
        "oscine publish runs/mine OWNER/NAME --licence mit",
        "oscine publish runs/probe/linear OWNER/NAME --licence mit --public",
    ],
}


def with_examples(command: str, text: str) -> str:
    """Put a command's examples behind the first sentence of its description."""
    first, _, rest = text.partition("\n\n")
    calls = "\n".join(f"  {call}" for call in EXAMPLES.get(command, ()))
    return "\n\n".join(part for part in (first, calls and f"examples:\n{calls}", rest) if part)
