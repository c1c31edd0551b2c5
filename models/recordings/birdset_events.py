"""Events in recordings: which of them count, how many a species keeps, and what is heard around one.

As BirdSet (arXiv 2403.10380) finds and Bird-MAE (arXiv 2504.12880) takes them: of XCL's 528,434 recordings, 2 events of most
are the 1.7 million of XCL-1.7M.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas import DataFrame, Series

from oscine.models.errors import OscineError

NOISE = -1  # cluster of what is no bird
FIRST = (0.0, 5.0)  # seconds that are heard of a recording without an event
AROUND = 1.0  # seconds by which what an event's clip is cut from is longer than the clip: published as 6 for one of 5
TIMES, CLUSTERS = pa.list_(pa.list_(pa.float64())), pa.list_(pa.int64())
AGAIN = "download the metadata again"
FLOOR = 500  # events below which sampling brings no species


def map_events(metadata: pa.Table) -> DataFrame:
    """A row for every event that counts: `row` of the metadata, `start` and `end` in seconds.

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
    """What a clip of `seconds` with an event is cut from, in a recording of `within` seconds.

    A shorter event has as much around it on both sides as makes a second more than a clip, or on one side where the other
    is the recording's end; a longer one is taken as it is.
    """
    length, end = seconds + AROUND, min(end, within)
    if end - start < length:
        start = max(0.0, min((start + end - length) / 2, within - length))
        end = min(start + length, within)
    return start, end


def curate(recording: Series, species: Series, most: int, seed: int, floor: int = FLOOR) -> np.ndarray:
    """Numbers of the events that are kept, ascending: of species with many of them, `most` of each recording.

    recording, species: of every event. Which events of a recording are kept is drawn at random.
    """
    if most < 1:
        raise OscineError(f"{most} events of a recording; keep at least 1, or all")
    groups = DataFrame({"recording": recording.to_numpy(), "species": species.to_numpy()})
    counts = groups.groupby(["species", "recording"], sort=True).size()
    kept = counts.groupby("species").transform(lambda of_one: level(of_one.to_numpy(), most, floor))
    groups["drawn"] = np.random.default_rng(seed).random(len(groups))
    place = groups.groupby(["species", "recording"])["drawn"].rank(method="first")
    allowed = kept.reindex(pd.MultiIndex.from_frame(groups[["species", "recording"]])).to_numpy()
    return np.flatnonzero(place.to_numpy() <= allowed)


def level(counts: np.ndarray, most: int, floor: int = FLOOR) -> np.ndarray:
    """How many events each recording of one species keeps.

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
