"""Published figures of frozen and fine-tuned encoders, each with its source, to be held beside one's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Figure(NamedTuple):
    """A published score, in [0, 1] as our own; spread is a standard deviation or None. Metrics as in `Metrics`."""

    task: str
    metric: str
    encoder: str
    probe: str
    value: float
    spread: float | None
    source: str


BAT = "arXiv 2602.16305, table 5"
BAT_COLUMNS = (
    "audioset_2m.map audioset_2m.f1 audioset_20k.map audioset_20k.f1 esc50.map esc50.accuracy speech_commands.map "
    "speech_commands.accuracy dcase2016.frame_map dcase2016.onset_f1 hsn.map hsn.f1"
)
BAT_ROWS = """
fine-tuned    BAT    48.85 36.62 41.59 38.20 98.81±0.9 95.95±1.2 99.80 99.09 99.71 98.20 47.05 34.07
fine-tuned    SSLAM  47.82 36.33 40.26 38.00 98.21±1.0 94.85±1.7 98.30 96.87 99.59 97.13 44.20 31.26
fine-tuned    EAT    47.84 36.38 40.37 38.03 98.54±1.0 95.05±1.4 97.50 96.43 99.70 97.25 42.32 31.98
fine-tuned    BEATs  47.02 36.02 36.73 32.18 98.01±1.4 94.35±2.3 99.77 98.85 99.67 97.34 18.59 13.00
cgp           BAT    45.03 37.94 37.70 35.22 98.13±1.2 94.55±1.7 99.80 98.92 99.15 94.27 41.53 29.49
cgp           SSLAM  42.75 34.22 34.53 32.06 97.25±1.5 92.55±2.2 99.51 98.08 97.97 90.64 36.14 25.75
cgp           EAT    42.98 34.48 35.34 32.81 97.53±1.2 93.10±1.8 99.61 98.19 98.31 90.03 37.90 24.53
cgp           BEATs  41.89 33.41 33.01 31.53 95.85±0.9 89.15±1.0 99.45 97.91 98.65 93.94 22.78 9.30
protobin      BAT    42.94 35.94 35.98 33.88 98.95±0.7 95.75±0.7 99.76 98.68 98.03 91.52 36.14 26.28
protobin      SSLAM  38.53 31.57 32.01 30.50 96.38±1.3 90.70±1.4 98.04 95.84 93.87 80.34 28.20 15.52
protobin      EAT    39.08 31.81 32.87 31.11 96.83±1.1 91.45±1.7 98.52 96.50 95.15 84.77 26.47 18.63
protobin      BEATs  37.73 30.42 31.62 28.43 95.31±1.4 88.75±1.8 99.27 97.47 97.95 90.48 17.32 3.85
linear        BAT    31.19 20.21 26.15 22.41 95.25±1.3 89.20±2.1 75.74 78.12 94.21 82.38 9.21 5.28
linear        SSLAM  26.96 17.70 21.14 17.61 94.10±0.9 87.65±1.9 56.28 70.22 86.33 66.09 8.52 3.95
linear        EAT    27.30 18.21 21.60 16.98 91.07±0.7 84.75±1.8 74.31 78.03 88.67 70.21 10.77 2.75
linear        BEATs  31.40 22.05 26.26 23.17 93.07±1.1 86.50±1.6 92.60 90.44 94.61 81.72 5.33 4.79
"""
BAT_SMALL = "arXiv 2602.16305, BAT-S"
BAT_SMALL_COLUMNS = "audioset_2m.map audioset_2m.f1 audioset_20k.map audioset_20k.f1"
BAT_SMALL_ROWS = """
fine-tuned    BAT-S  45.77 30.86 37.55 34.38
cgp           BAT-S  41.63 34.43 33.68 31.70
protobin      BAT-S  40.19 32.26 32.63 29.27
linear        BAT-S  25.40 12.97 21.26 11.45
"""

BIRD_MAE = "arXiv 2504.12880, tables 6 and 7, as quoted by a reproduction"
BIRD_MAE_COLUMNS = "hsn.cmap"
BIRD_MAE_ROWS = """
fine-tuned-prototypical  Bird-MAE-B  52.06
fine-tuned-prototypical  Bird-MAE-L  55.28
fine-tuned-prototypical  Bird-MAE-H  54.80
mlp                      Bird-MAE-L  15.22
attentive                Bird-MAE-L  47.81
"""
# Not compared with the paper itself, whose tables could not be had; three columns of Bird-MAE agree with what is quoted.
BIRD_MAE_CARD = "the Hub's model card of Bird-MAE, unverified"
BIRD_MAE_CARD_COLUMNS = "hsn.cmap pow.cmap per.cmap nes.cmap uhh.cmap nbp.cmap ssw.cmap sne.cmap"
BIRD_MAE_CARD_ROWS = """
linear        BirdAVES    14.91 12.60 5.41 6.36 11.76 33.68 4.55 7.86
prototypical  BirdAVES    32.52 19.98 5.14 11.87 15.41 39.85 7.71 9.59
linear        ProtoCLR    17.29 17.89 6.66 10.64 7.43 26.35 6.99 8.92
prototypical  ProtoCLR    18.00 17.02 3.37 7.91 7.08 26.60 5.36 8.83
linear        Audio-MAE   8.77 10.36 3.72 4.48 10.78 24.70 2.50 5.60
prototypical  Audio-MAE   19.42 19.58 9.34 15.53 16.84 35.32 8.81 12.34
linear        Bird-MAE-B  13.06 14.28 5.63 8.16 14.75 34.57 5.59 8.16
prototypical  Bird-MAE-B  43.84 37.67 20.72 28.11 26.46 62.68 22.69 22.16
linear        Bird-MAE-L  12.44 16.20 6.63 8.31 15.41 41.91 5.75 7.94
prototypical  Bird-MAE-L  49.97 51.73 31.38 37.80 29.97 69.50 37.74 29.96
linear        Bird-MAE-H  13.25 14.82 7.29 7.93 12.99 38.71 5.60 7.84
prototypical  Bird-MAE-H  47.52 49.65 30.43 35.85 28.91 69.13 35.83 28.31
"""

REVIEW = "arXiv 2508.01277, results of its repository"
REVIEW_COLUMNS = "pow.cmap per.cmap nes.cmap uhh.cmap hsn.cmap nbp.cmap ssw.cmap sne.cmap"
REVIEW_ROWS = """
linear     Bird-MAE-L   27.05±.68 10.83±.00 20.66±.12 16.40±.09 16.37±.00 43.45±.15 17.69±.07 18.26±.12
attentive  Bird-MAE-L   38.19±1.35 26.01±.96 35.69±.06 26.39±.12 45.67±2.26 66.26±1.27 35.58±.13 31.56±.07
linear     Audio-MAE    14.98 5.75 11.34 14.66 14.61 25.96 8.73 11.83
attentive  Audio-MAE    27.16 13.83 25.48 20.35 29.10 44.66 22.09 20.22
linear     BEATs        14.54 5.76 8.16 9.83 13.06 23.61 6.67 11.38
attentive  BEATs        25.67 14.91 24.51 20.85 30.29 42.49 20.35 22.17
attentive  BEATs-NLM    39.08 20.91 35.85 26.85 46.85 61.52 44.21 28.02
linear     ConvNeXt-BS  38.58 19.92 36.19 26.35 52.69 66.07 39.88 32.39
linear     Perch        36.26 19.63 37.87 23.88 49.73 64.98 33.16 30.72
"""
REVIEW_AUROC_COLUMNS = "pow.auroc per.auroc nes.auroc uhh.auroc hsn.auroc nbp.auroc ssw.auroc sne.auroc"
REVIEW_AUROC_ROWS = """
linear     Bird-MAE-L  71.91 61.75 82.44 69.88 71.83 70.77 81.90 71.09
attentive  Bird-MAE-L  84.09 73.76 89.16 80.51 87.16 87.43 91.22 82.27
"""
BEANS_COLUMNS = "watkins.accuracy bats.accuracy cbi.accuracy dogs.accuracy humbugdb.accuracy"
BEANS_ROWS = """
linear     Audio-MAE    44.69 45.60 35.80 24.46 74.69
attentive  Audio-MAE    83.33 67.02 47.89 85.97 79.53
linear     BEATs        83.19 57.57 19.25 75.90 78.46
attentive  BEATs        85.69 73.27 54.67 90.65 81.93
attentive  BEATs-NLM    90.41 74.75 76.85 94.24 81.98
linear     Bird-MAE-L   73.16 60.03 53.40 48.56 77.17
attentive  Bird-MAE-L   88.94 75.15 66.17 88.85 80.93
linear     ConvNeXt-BS  82.74 64.75 78.26 88.85 76.20
linear     Perch        80.09 53.50 79.72 89.21 74.85
"""

TABLES = (
    (BAT, BAT_COLUMNS, BAT_ROWS),
    (BAT_SMALL, BAT_SMALL_COLUMNS, BAT_SMALL_ROWS),
    (BIRD_MAE, BIRD_MAE_COLUMNS, BIRD_MAE_ROWS),
    (BIRD_MAE_CARD, BIRD_MAE_CARD_COLUMNS, BIRD_MAE_CARD_ROWS),
    (REVIEW, REVIEW_COLUMNS, REVIEW_ROWS),
    (REVIEW, REVIEW_AUROC_COLUMNS, REVIEW_AUROC_ROWS),
    (REVIEW, BEANS_COLUMNS, BEANS_ROWS),
)


def published_figures() -> Iterator[Figure]:
    """Every published figure, in the order of its table."""
    for source, columns, rows in TABLES:
        for row in rows.strip().splitlines():
            probe, encoder, *cells = row.split()
            for column, cell in zip(columns.split(), cells, strict=True):
                task, metric = column.split(".")
                value, _, spread = cell.partition("±")
                share = float(value) / 100
                yield Figure(task, metric, encoder, probe, share, float(spread) / 100 if spread else None, source)
