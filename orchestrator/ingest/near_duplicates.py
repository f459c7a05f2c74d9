"""Finds, among many 64-bit hashes, those that differ in few bits, without comparing all pairs.

Cut into `threshold + 2` blocks, two words at most `threshold` bits apart agree in two blocks at
least. So for each pair of blocks the words are put into buckets by what they hold there, and
only words of one bucket are compared. Every near pair meets in some bucket: the result is that
of comparing all with all.

Near words end in one group, and so do words that are near through others (single linkage): the
ends of a chain, such as the frames of a calm video, can differ in more bits than the threshold.
What is known to be in one group is not compared again, so that a bucket full of copies costs
little; a large bucket of words that differ is parted further by the bits not yet used. Memory
is bounded by the number of words.

PURE: numpy only. 250,000 hashes, half of them random and half in clusters of 50,
take 0.8 s and 70 MiB at 4 bits on one core, 3.5 s at 6; the worst skew tried, 17 s at 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from orchestrator.ingest.perceptual_hash import FLAT, THRESHOLD, Hashes

MAX_THRESHOLD = 10  # beyond it unrelated faces match, and nearly all words share blocks

Ids = npt.NDArray[np.int64]

_WORD_BITS = 64
_SMALL = 256  # words; smaller buckets are worked on all at once
_CELLS = 2**18  # distances held at a time
_ROUNDS = 64  # of comparing in a large bucket before it is parted further
_MAX_LINKS = 2**20  # near pairs held before they are joined


def near_groups(hashes: Hashes, threshold: int = THRESHOLD) -> Ids:
    """Groups the rows whose hashes are near, directly or through others.

    Args:
        hashes: One a row, shape (N,); rows with `FLAT` are each alone.
        threshold: Most bits in which near hashes differ, 0 to `MAX_THRESHOLD`.

    Returns:
        A group number a row, from 0 without holes, shape (N,).

    Raises:
        ValueError: The threshold is out of range.
    """
    if not 0 <= threshold <= MAX_THRESHOLD:
        raise ValueError(f"threshold: must be 0..{MAX_THRESHOLD} bits; got {threshold}.")
    told_apart = hashes != FLAT
    words, word_of_row = np.unique(hashes[told_apart], return_inverse=True)
    groups = np.arange(len(words))
    if threshold and len(words):
        groups = _grouped(words, groups, _WORD_BITS, threshold)
    ids = np.empty(len(hashes), dtype=np.int64)
    ids[told_apart] = groups[word_of_row]
    num_alone = len(hashes) - len(word_of_row)
    ids[~told_apart] = int(groups.max(initial=-1)) + 1 + np.arange(num_alone)
    return ids


def varies(ids: Ids, values: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Tells for each id from 0 to the greatest whether its rows have several values."""
    some_value = np.zeros(int(ids.max(initial=-1)) + 1, dtype=values.dtype)
    some_value[ids] = values
    found = np.zeros(len(some_value), dtype=np.bool_)
    found[ids[values != some_value[ids]]] = True
    return found


# --- the search ----------------------------------------------------------------------------------


def _grouped(words: Hashes, groups: Ids, num_bits: int, threshold: int) -> Ids:
    """Joins the groups of all near words of so many bits, bucket by bucket."""
    if num_bits < threshold + 2:  # no blocks can be cut; such words are all near
        return _compared(words, groups, threshold, rounds=len(words))[0]
    for one, other in combinations(_blocks(num_bits, threshold + 2), 2):
        key = (_bits(words, *one) << np.uint64(other[1])) | _bits(words, *other)
        order = np.argsort(key)
        starts = np.flatnonzero(np.diff(key[order], prepend=~key[order[:1]]))
        sizes = np.diff(starts, append=len(words))
        groups = _in_small_buckets(words, groups, order, starts, sizes, threshold)
        for start, size in zip(starts[sizes > _SMALL], sizes[sizes > _SMALL], strict=True):
            members = order[start : start + size]
            rest = _without(_without(words[members], *other), *one)  # the higher block first
            left_bits = num_bits - one[1] - other[1]
            groups = _in_large_bucket(rest, groups, members, left_bits, threshold)
    return groups


def _blocks(num_bits: int, num_blocks: int) -> list[tuple[int, int]]:
    """Cuts words into blocks: the lowest bit and the number of bits of each."""
    edges = [num_bits * block // num_blocks for block in range(num_blocks + 1)]
    return [(low, high - low) for low, high in pairwise(edges)]


def _bits(words: Hashes, low: int, count: int) -> Hashes:
    return (words >> np.uint64(low)) & np.uint64((1 << count) - 1)


def _without(words: Hashes, low: int, count: int) -> Hashes:
    """Takes bits out of words; those above move down."""
    above = _bits(words, low + count, _WORD_BITS - low - count)
    return (above << np.uint64(low)) | _bits(words, 0, low)


def _in_small_buckets(
    words: Hashes, groups: Ids, order: Ids, starts: Ids, sizes: Ids, threshold: int
) -> Ids:
    """Compares within all small buckets at once: each word with the next, the one after, ..."""
    is_small = np.repeat(sizes <= _SMALL, sizes)
    end = np.repeat(starts + sizes, sizes)
    at = np.flatnonzero(is_small)
    links: list[tuple[Ids, Ids]] = []
    for lag in range(1, _SMALL):
        at = at[at + lag < end[at]]
        if not len(at):
            break
        one, other = order[at], order[at + lag]
        near = np.bitwise_count(words[one] ^ words[other]) <= threshold
        near[near] = groups[one[near]] != groups[other[near]]
        links.append((one[near], other[near]))
        if sum(len(link[0]) for link in links) > _MAX_LINKS:
            groups, links = _joined(groups, links), []
    return _joined(groups, links)


def _in_large_bucket(
    words: Hashes, groups: Ids, members: Ids, num_bits: int, threshold: int
) -> Ids:
    """Compares within one large bucket; its words come without the bits that they share."""
    local = np.unique(groups[members], return_inverse=True)[1]
    joined, done = _compared(words, local, threshold, rounds=_ROUNDS)
    if not done:
        joined = _grouped(words, joined, num_bits, threshold)
    some_member = np.zeros(int(joined.max()) + 1, dtype=np.int64)
    some_member[joined] = members
    return _joined(groups, [(some_member[joined], members)])


def _compared(words: Hashes, groups: Ids, threshold: int, *, rounds: int) -> tuple[Ids, bool]:
    """Compares words with all others until those never compared are in one group.

    Returns:
        The joined groups, and whether that was reached within so many rounds.
    """
    waiting = np.ones(len(words), dtype=np.bool_)
    for _ in range(rounds):
        outside = np.flatnonzero(waiting & (groups != np.bincount(groups).argmax()))
        if not len(outside):
            return groups, True
        others = np.flatnonzero(waiting)
        block = outside[: max(1, _CELLS // len(others))]
        distances = np.bitwise_count(words[block, None] ^ words[others])
        one, other = np.nonzero(distances <= threshold)
        groups = _joined(groups, [(block[one], others[other])])
        waiting[block] = False
    return groups, False


def _joined(groups: Ids, links: Sequence[tuple[Ids, Ids]]) -> Ids:
    """Makes one group of any two that a link connects; numbers stay without holes."""
    if not links:
        return groups
    one = groups[np.concatenate([link[0] for link in links])]
    other = groups[np.concatenate([link[1] for link in links])]
    apart = one != other
    if not apart.any():
        return groups
    return connected(one[apart], other[apart], int(groups.max()) + 1)[groups]


def connected(one: Ids, other: Ids, num_nodes: int) -> Ids:
    """Numbers the connected parts of a graph.

    Args:
        one: One end of each edge, shape (E,).
        other: Its other end, shape (E,).
        num_nodes: Nodes are 0 to `num_nodes - 1`.

    Returns:
        The part of each node, from 0 without holes, shape (num_nodes,).
    """
    nodes = np.arange(num_nodes)
    root = nodes.copy()  # every node points at one of its part that is not greater
    while len(one):
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(root, further := root[root]):
            root = further
        one, other = root[one], root[other]
        apart = one != other
        one, other = one[apart], other[apart]
    return (np.cumsum(root == nodes) - 1)[root]
