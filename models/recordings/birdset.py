"""Read BirdSet as it lies on the Hub: a folder a configuration, with metadata and tar files, without a loading script.

    HSN/HSN_metadata_train.parquet · HSN_metadata_test.parquet · HSN_metadata_test_5s.parquet
    HSN/HSN_train_shard_0001.tar.gz ... · HSN_test_shard_0001.tar.gz ... · HSN_test5s_shard_0001.tar.gz ...
    XCL/XCL_metadata.parquet · XCL_shard_0001.tar.gz ...                      (XCM likewise: training data alone)

It is what `hf download DBD-research-group/BirdSet --repo-type dataset --revision data --include "HSN/*"` lays down. A row of
the metadata belongs to the recording of its `filepath`'s last part, in whichever tar that lies. arXiv 2403.10380; layout
and numbers of files as of version 0.0.4 of the data set's own builder.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas import DataFrame, Series

from oscine.models.audio.scan import check_permitted
from oscine.models.audio.tar import Tars
from oscine.models.errors import OscineError

WINDOW = 5.0  # seconds of a test window
NOISE = -1  # cluster of what is no bird
FIRST = (0.0, 5.0)  # seconds that are heard of a recording without an event
AROUND = 1.0  # seconds by which what an event's clip is cut from is longer than the clip: published as 6 for one of 5
TIMES, CLUSTERS = pa.list_(pa.list_(pa.float64())), pa.list_(pa.int64())
AGAIN = "download the metadata again"
FLOOR = 500  # events below which sampling brings no species

logger = logging.getLogger(__name__)


class Configuration(NamedTuple):
    """How many tar files hold each split."""

    train: int
    test: int
    test_5s: int


CONFIGURATIONS = {
    "HSN": Configuration(7, 3, 1),
    "NBP": Configuration(32, 1, 1),
    "NES": Configuration(13, 8, 1),
    "PER": Configuration(11, 3, 1),
    "POW": Configuration(9, 3, 1),
    "SNE": Configuration(21, 5, 1),
    "SSW": Configuration(29, 36, 4),
    "UHH": Configuration(5, 7, 1),
    "XCL": Configuration(98, 0, 0),
    "XCM": Configuration(182, 0, 0),
}
COLUMNS = {
    "train": ("filepath", "ebird_code", "ebird_code_multilabel", "detected_events", "event_cluster"),
    "test": ("filepath", "ebird_code", "start_time", "end_time"),
    "test_5s": ("filepath", "ebird_code_multilabel", "start_time", "end_time"),
}


def is_birdset(folder: Path) -> bool:
    """Return whether a folder holds one of BirdSet's configurations; raise where several, or an unknown one."""
    check_permitted(folder)
    name = _configuration(folder)
    if name in CONFIGURATIONS:
        return True
    if name and any(folder.glob(f"{name}_*shard_*.tar*")):
        raise OscineError(f"{folder} holds BirdSet's {name}, which is unknown; choose from {', '.join(CONFIGURATIONS)}")
    below = sorted({path.parent for path in folder.glob("*/*_metadata*.parquet") if path.parent.name in CONFIGURATIONS})
    if below:
        raise OscineError(
            f"{folder} holds {len(below)} configurations of BirdSet; name one of them, such as {below[0]}"
        )
    return False


class BirdSet:
    """One split of a configuration: train, test (strong labels) or test_5s (windows of 5 s).

    metadata     the rows of its Parquet, with the columns that are needed
    recordings   what lies in its tars, to load by number
    numbers      [row of the metadata] the number of its recording, -1 where no tar holds it
    """

    def __init__(self, folder: Path, split: str = "train") -> None:
        if not is_birdset(folder):
            raise OscineError(
                f"{folder} holds no configuration of BirdSet; expected files such as HSN_metadata_train.parquet"
            )
        self.folder, self.split = folder, split
        self.configuration = _configuration(folder) or ""
        tars = self._tars()  # first: that one is missing is said before the others are indexed
        self.metadata = self._read_metadata()
        self.recordings = Tars(tars)
        if self.recordings.cut:
            raise OscineError(
                f"{self.recordings.cut[0]} is cut short, and {self.configuration} not whole; download it again"
            )
        number = {name: recording for recording, name in enumerate(self.recordings.names.to_pylist())}
        self.files = [path.rsplit("/", 1)[-1] for path in self.metadata["filepath"].to_pylist()]
        self.numbers = np.array([number.get(name, -1) for name in self.files], np.int64)

    def events(self) -> DataFrame:
        """Read the events to learn from: `row` of the metadata, `start`, `end`, `recording` (its number, or -1)."""
        if self.split != "train":
            raise OscineError(f"{self.split} has no detected events; its windows are those of `labelled`")
        try:
            events = map_events(self.metadata)
        except OscineError as error:
            raise OscineError(f"{self._metadata_path()}: {error}") from None
        return events.assign(recording=self.numbers[events["row"]])

    def species(self, rows: Series) -> Series:
        """Return the species (eBird code) of rows of the metadata; "" where there is none."""
        codes = self.metadata["ebird_code"].cast(pa.string()).fill_null("")
        return Series(codes.to_numpy()).iloc[rows].reset_index(drop=True)

    def labelled(self) -> DataFrame:
        """Make a labelled table: path (for a person), recording, start, end in seconds, labels (sorted eBird codes).

        train: a row an event, with all labels of its recording; test: a row a call; test_5s: a row a window, 5 s from its
        start, with no label where no bird calls. Rows without a recording are left out.
        """
        if self.split == "train":
            rows = self.events()
        else:
            start, end = (self.metadata[name].cast(pa.float64()).to_numpy() for name in ("start_time", "end_time"))
            start = np.nan_to_num(start)
            end = end if self.split == "test" else start + WINDOW
            rows = DataFrame({"row": np.arange(len(start)), "start": start, "end": end, "recording": self.numbers})
        missing = rows["recording"].to_numpy() < 0
        if missing.any():
            logger.warning(
                "%s: %d of %d rows left out, whose recordings no tar file holds, such as %s",
                self._metadata_path(), missing.sum(), len(rows), self.files[rows["row"].to_numpy()[missing.argmax()]],
            )  # fmt: skip
        rows = rows[~missing].reset_index(drop=True)
        column = "ebird_code" if self.split == "test" else "ebird_code_multilabel"
        labels = [_labels(codes) for codes in self.metadata[column].to_pylist()]
        place = [str(self.recordings.path_of(recording)) for recording in rows["recording"]]
        return rows.assign(path=place, labels=[labels[row] for row in rows["row"]]).drop(columns="row")

    def _tars(self) -> list[Path]:
        """Find the split's tar files, of which none may be missing."""
        count = CONFIGURATIONS[self.configuration]._asdict().get(self.split, 0)
        if not count:
            there = [split for split in COLUMNS if CONFIGURATIONS[self.configuration]._asdict()[split]]
            raise OscineError(
                f"BirdSet's {self.configuration} has no split {self.split}; choose from {', '.join(there)}"
            )
        stem = self.configuration if self._alone else f"{self.configuration}_{self.split.replace('_', '')}"
        found = {
            path.name.split(".")[0]: path
            for path in self.folder.glob(f"{stem}_shard_*.tar*")
            if path.name.endswith((".tar.gz", ".tar")) and path.is_file()
        }
        missing = [name for number in range(1, count + 1) if (name := f"{stem}_shard_{number:04d}") not in found]
        if missing:
            raise OscineError(
                f"{self.folder}: {len(missing)} of {count} tar files of {self.configuration}'s {self.split} are missing, "
                f"such as {missing[0]}.tar.gz; download them"
            )
        return [found[name] for name in sorted(found)]

    def _read_metadata(self) -> pa.Table:
        path, columns = self._metadata_path(), COLUMNS[self.split]
        try:
            there = pq.read_schema(path).names
            missing = [name for name in columns if name not in there]
            if missing:
                raise OscineError(f"{path} has no column {missing[0]}; it has {', '.join(there)[:200]}")
            return pq.read_table(path, columns=list(columns))
        except FileNotFoundError:
            raise OscineError(f"no metadata {path}; download it") from None
        except (pa.ArrowException, OSError) as error:
            raise OscineError(
                f"{path} is no Parquet that can be read ({str(error).splitlines()[0]}); download it again"
            ) from None

    def _metadata_path(self) -> Path:
        return self.folder / f"{self.configuration}_metadata{'' if self._alone else f'_{self.split}'}.parquet"

    @property
    def _alone(self) -> bool:
        """Return whether the training data is all there is: its files are then not called so."""
        return not CONFIGURATIONS[self.configuration].test


def classes_of(labelled: DataFrame, *others: DataFrame) -> list[str]:
    """Return the sorted labels of labelled tables together, as of train and test_5s of a configuration."""
    return sorted({label for table in (labelled, *others) for labels in table["labels"] for label in labels})


def _configuration(folder: Path) -> str | None:
    """Tell whose metadata lies in a folder; None where there is none, an error where there are several."""
    parts = [path.stem.partition("_metadata") for path in folder.glob("*_metadata*.parquet")]
    names = sorted({name for name, _, rest in parts if rest in ("", "_train", "_test", "_test_5s")})
    if len(names) > 1:
        raise OscineError(f"{folder} holds {' and '.join(names)} of BirdSet side by side; give each its own folder")
    return names[0] if names else None


def _labels(codes: str | int | list[str] | None) -> list[str]:
    """Read a cell's labels: none, one, or several."""
    return sorted({str(code) for code in (codes if isinstance(codes, list) else [codes]) if code is not None})


# Events: as BirdSet finds and Bird-MAE (arXiv 2504.12880) takes them. Of XCL's 528,434 recordings, 2 events of most are the
# 1.7 million of XCL-1.7M.


def map_events(metadata: pa.Table) -> DataFrame:
    """Make a row for every event that counts: `row` of the metadata, `start` and `end` in seconds.

    metadata: columns detected_events, lists of [start, end], and event_cluster, lists of numbers. Noise counts where it is
    a recording's only event; of several clusters the largest does, the smallest number of those as large. A recording
    without such events has one row, its first 5 s.
    """
    try:
        events = metadata["detected_events"].combine_chunks().cast(TIMES)
        clusters = metadata["event_cluster"].combine_chunks().cast(CLUSTERS)
    except pa.ArrowException as error:
        raise OscineError(f"detected_events or event_cluster is of another type ({error}); {AGAIN}") from None
    rows, times = events.value_parent_indices().to_numpy(), events.flatten()
    if not np.array_equal(rows, clusters.value_parent_indices().to_numpy()):
        raise OscineError(f"detected_events and event_cluster have other lengths in a row; {AGAIN}")
    if (times.value_lengths().to_numpy(zero_copy_only=False) != 2).any():
        raise OscineError(f"detected_events has events that are not [start, end]; {AGAIN}")
    start, end = times.flatten().to_numpy(zero_copy_only=False).reshape(-1, 2).T
    found = DataFrame({"row": rows, "start": start, "end": end, "cluster": clusters.flatten().to_numpy()})
    alone = found.groupby("row")["row"].transform("size") == 1
    found = found[(found["cluster"] != NOISE) | alone]
    size = found.groupby(["row", "cluster"])["row"].transform("size")
    largest = size == size.groupby(found["row"]).transform("max")
    found = found[found["cluster"] == found["cluster"].where(largest).groupby(found["row"]).transform("min")]
    without = np.setdiff1d(np.arange(len(metadata)), found["row"])
    first = DataFrame({"row": without, "start": FIRST[0], "end": FIRST[1]})
    both = pd.concat([found.drop(columns="cluster"), first])
    return both.sort_values("row", kind="stable", ignore_index=True)


def event_window(start: float, end: float, within: float, seconds: float) -> tuple[float, float]:
    """Choose what a clip of `seconds` with an event is cut from, in a recording of `within` seconds.

    A shorter event has as much around it on both sides as makes a second more than a clip, or on one side where the other
    is the recording's end; a longer one is taken as it is.
    """
    length, end = seconds + AROUND, min(end, within)
    if end - start < length:
        start = max(0.0, min((start + end - length) / 2, within - length))
        end = min(start + length, within)
    return start, end


def curate(recording: Series, species: Series, most: int, seed: int, floor: int = FLOOR) -> np.ndarray:
    """Choose which events are kept: of species with many of them, `most` of each recording.

    recording, species: of every event. Which events of a recording are kept is drawn at random. Returns their numbers,
    ascending.
    """
    if most < 1:
        raise OscineError(f"{most} events of a recording; keep at least 1, or all")
    groups = DataFrame({"recording": recording.to_numpy(), "species": species.to_numpy()})
    counts = groups.groupby(["species", "recording"], sort=True).size()
    kept = counts.groupby("species").transform(lambda of_one: lower_counts(of_one.to_numpy(), most, floor))
    groups["drawn"] = np.random.default_rng(seed).random(len(groups))
    place = groups.groupby(["species", "recording"])["drawn"].rank(method="first")
    allowed = kept.reindex(pd.MultiIndex.from_frame(groups[["species", "recording"]])).to_numpy()
    return np.flatnonzero(place.to_numpy() <= allowed)


def lower_counts(counts: np.ndarray, most: int, floor: int = FLOOR) -> np.ndarray:
    """Choose how many events each recording of one species keeps.

    The largest counts are lowered to the next smaller one, again and again, until they are `most`, or until lowering them
    would leave the species fewer than `floor`. Equal counts are lowered by one, and none below `most`: the published loop
    goes on for ever there.
    """
    while (largest := counts.max()) > most:
        smaller = counts[counts < largest]
        lowered = np.minimum(counts, max(most, smaller.max() if len(smaller) else largest - 1))
        if lowered.sum() < floor:
            break
        counts = lowered
    return counts
