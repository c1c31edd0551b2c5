"""Standardise features over all clips, to a length that does not depend on how many numbers they have."""

from __future__ import annotations

import numpy as np

MEAN_NORM = 8.0  # of the standardised features, whatever their number: what a penalty then means is the same for all


def standardise(features: np.ndarray) -> np.ndarray:  # [clips, dim]
    """Bring every number to mean 0 and spread 1 over all clips, and rows to a mean length of MEAN_NORM."""
    offset, scale = standardisation(features)
    return (features - offset) * scale


def standardisation(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [dim] each
    """Return what `standardise` takes away, and then multiplies by."""
    spread = features.std(0, dtype=np.float64)
    offset, scale = features.mean(0, dtype=np.float64), np.where(spread > 0, 1 / np.where(spread > 0, spread, 1), 0.0)
    lengths = [np.linalg.norm((part - offset) * scale, axis=1) for part in np.array_split(features, 64)]
    mean = float(np.concatenate(lengths).mean())
    return offset.astype(np.float32), (scale * (MEAN_NORM / mean if mean else 1.0)).astype(np.float32)
