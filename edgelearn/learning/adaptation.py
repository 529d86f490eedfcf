"""Gradient steps on the prototypes of the taught words, the output layer of the network, from embeddings alone.

The mean of its takes says where a word lies, not what tells it from the others. A sweep is one step of gradient descent
on the cross-entropy of softmax(16 cos) over exemplars and every prototype of the base classes, each with its weight; a
lesson leaves the rows of base classes where they are. No weight of the network changes, so that exemplars are embedded
once for all sweeps of a lesson.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgelearn.engine.counts import Counts
from edgelearn.jit import kernel
from edgelearn.learning.head import LOGIT_SCALE, exponentials

if TYPE_CHECKING:
    from edgelearn.learning.classifier import Classifier

WEIGHT_ONE = 1 << 15
SUM_BITS = 29  # of `add_row_gradient`
MOVED_BITS = 27  # of `descend`: a component is at most 1 + 16 rate, which these keep in 32 bits up to a rate of 15/16


@kernel
def add_row_gradient(
    u: Any, cos_q14: Any, count: int, target: int, first: int, weight_q15: int, exp2_q15: Any, shares: Any, sums: Any
) -> int:
    """Add the gradient of an utterance for rows `first` onwards, (softmax - one-hot) u, to sums (int32 [n, H], Q29).

    u int16 [H] is its unit embedding (Q14), cos_q14 int32 [count] its cosines to all rows, `target` its own row;
    weights (Q15) add up to at most 1 over all utterances, so that no sum is beyond 2^29. shares int32 [count] is
    scratch. Returns the number of rows whose gradient is not 0 in Q23: the others are left as they are.
    """
    _, total = exponentials(cos_q14, count, exp2_q15, shares)
    added = 0
    for n in range(sums.shape[0]):
        k = first + n
        share_q15 = (np.int64(shares[k]) << 15) // total - (WEIGHT_ONE if k == target else 0)
        share_q23 = (share_q15 * weight_q15) >> 7
        if share_q23 != 0:
            added += 1
            for j in range(u.shape[0]):
                sums[n, j] += np.int32((share_q23 * np.int64(u[j])) >> 8)
    return added


@kernel
def descend(row: Any, norm_q8: Any, sums: Any, rate_q16: int, out: Any) -> None:
    """Write a row (int8 [H], norm Q8) as a unit vector less rate x 16 x sums (int32 [H], Q29) to out (int64, Q27)."""
    for j in range(row.shape[0]):
        gradient = np.int64(sums[j]) * LOGIT_SCALE * rate_q16
        out[j] = (np.int64(row[j]) << (MOVED_BITS + 8)) // norm_q8 - (gradient >> (16 + SUM_BITS - MOVED_BITS))


def rows_to_move(
    classifier: Classifier, kept: Mapping[int, int], least_takes: int, many_takes: int, alike_q14: int, clear: bool
) -> list[int]:
    """Return the rows of the taught words that a lesson's sweeps move; kept: exemplars of each row.

    Those of `many_takes`; from `least_takes` on, those with a cosine of `alike_q14` or more to another class. Fewer
    takes say less than their mean of a word that is like nothing else, or of one whose other takes gave way.  If the
    takes of the lesson are not clear, only rows without directions, which say better what a noisy word is not.
    """

    def wanted(row: int) -> bool:
        takes = kept.get(row, 0)
        if not clear and classifier.directions.have_a_say(row - classifier.config.base_rows):
            return False
        return takes >= many_takes or (takes >= least_takes and classifier.closest_class(row) >= alike_q14)

    return [row for row in range(classifier.config.base_rows, classifier.rows) if wanted(row)]


def count_sweep(
    exemplars: int, base_rows: int, rows: int, added: int, moved: int, hidden: int, compared: int
) -> Counts:
    """Count a sweep over so many exemplars and all base rows; `added`: gradients of rows added up, `moved`: rows.

    An utterance reads its unit embedding and the table of `rows` prototypes for as many cosines, each with a division
    and an exponential; what it adds to a row is read and written. A base row is made a unit vector first, a moved row
    one again at last: three operations for each component. For their nearness taught rows that moved are `compared`
    with others so often. All products count as forward ones, and as dense ones too: no delta is skipped in them. The
    embedding of exemplars is counted by the network.
    """
    utterances = exemplars + base_rows
    products = (utterances * rows + added + compared) * hidden
    return Counts(
        macs_forward=products,
        macs_dense_forward=products,
        macs_dense_training=products,
        state_bytes=utterances * (rows + 2) * hidden + (8 * (added + moved) + compared) * hidden,
        activations=utterances * rows,
        elementwise_ops=2 * utterances * rows + 3 * hidden * (base_rows + moved) + compared,
    )


def sweep(
    classifier: Classifier, exemplars: Iterable[tuple[NDArray[np.int16], int, int]], base_weights_q15: Sequence[int],
    moved: Sequence[int], rate_q16: int, sums: NDArray[np.int32],
) -> Counts:  # fmt: skip
    """Take one gradient step on the rows `moved` and return what it cost, without embedding the exemplars.

    exemplars: unit embeddings (int16 Q14 [H]), their rows and weights (Q15); base_weights_q15: of the base rows; all
    weights together are at most 1.  sums: int32 [n, H], scratch for the last n rows in use, among them all that move.
    """
    base, first = classifier.config.base_rows, classifier.rows - len(sums)
    sums[:] = 0
    utterances = added = 0
    rows = ((classifier.unit_row(row), row, weight) for row, weight in enumerate(base_weights_q15))
    for unit, row, weight in chain(exemplars, rows):
        added += classifier.add_row_gradient(unit, row, first, weight, sums)
        utterances += 1
    for row in moved:
        classifier.move_row(row, sums[row - first], rate_q16)
    taught = sum(row >= base for row in moved)
    return count_sweep(utterances - base, base, classifier.rows, added, len(moved), sums.shape[1], taught * base)
