# SPDX-License-Identifier: Apache-2.0
"""Inputs for networks with random weights, from a seed, with numpy alone.

Images have structure at several scales: white noise would average out in a network's pooling, so that every image gave the
same answer.
"""
import numpy as np


def image(seed, batch, size, low=None, high=None):
    """(batch, 3, size, size) float32 with mean 0 and deviation 1, or within [low, high] if given."""
    rng = np.random.default_rng(seed)
    x = np.zeros((batch, 3, size, size))
    at = (np.arange(size) + 0.5) / size
    for cells in (3, 7, 16, 56):
        grid = rng.standard_normal((batch, 3, cells, cells))
        place = np.clip(at * cells - 0.5, 0, cells - 1)
        left = np.minimum(place.astype(int), cells - 2)
        mix = np.zeros((size, cells))                       # rows interpolate linearly between cells
        mix[np.arange(size), left] = 1 - (place - left)
        mix[np.arange(size), left + 1] = place - left
        x += mix @ grid @ mix.T
    x += 0.3 * rng.standard_normal(x.shape)
    x = (x - x.mean()) / x.std()
    if low is not None:
        x = low + (high - low) * np.clip(0.5 + x / 6, 0, 1)
    return x.astype(np.float32)


def tokens(seed, batch, length, vocabulary):
    """The three inputs of BERT: ids, a mask that ends each row elsewhere, and two segments."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1000, vocabulary, (batch, length), dtype=np.int64)
    kept = length - (np.arange(batch) * 37 + 28) % (length - 16)
    place = np.arange(length)[None, :]
    mask = (place < kept[:, None]).astype(np.int64)
    segments = ((place >= kept[:, None] // 2) & (mask == 1)).astype(np.int64)
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": segments}
