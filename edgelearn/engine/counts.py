"""What a piece of work cost, in operations and bytes: the input of the cost model.

The formulas count the work of this engine, kernel by kernel, whatever machine ran it. The `macs_dense_*`
fields are what the same work would have cost with every column active (thresholds 0).
"""

from __future__ import annotations

import operator
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Counts:
    """Operation and byte counts of some work; they add.

    frames: frames run forward. macs_forward, macs_backward, macs_gradient: multiply-accumulates of M += W d,
    Cd = W^T CM and CW += CM d. macs_dense_forward: of the first with every column active;
    macs_dense_training: of all three. weight_bytes_*: weights and biases; state_bytes: M, c, h, x^, h^ and
    gradients, read and written; tape_bytes: the tape, read and written. activations: sigmoid and tanh.
    elementwise_ops: multiplies, rescales and compares outside of the matrix products. active_columns of
    total_columns: deltas not skipped in the forward pass. frontend_ops: operations that made the features.
    """

    frames: int = 0
    macs_forward: int = 0
    macs_backward: int = 0
    macs_gradient: int = 0
    macs_dense_forward: int = 0
    macs_dense_training: int = 0
    weight_bytes_read: int = 0
    weight_bytes_written: int = 0
    state_bytes: int = 0
    tape_bytes: int = 0
    activations: int = 0
    elementwise_ops: int = 0
    active_columns: int = 0
    total_columns: int = 0
    saturations: int = 0
    frontend_ops: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Sum field by field."""
        return Counts(*map(operator.add, vars(self).values(), vars(other).values()))

    @property
    def sparsity(self) -> float:
        """Share of deltas that were skipped in the forward pass; 0 if there were none."""
        return 1.0 - self.active_columns / self.total_columns if self.total_columns else 0.0

    def as_dict(self) -> dict[str, int]:
        """All fields by name, for JSON."""
        return asdict(self)


def count_forward(
    inputs: int, hidden: int, feature_bytes: int, frames: int, active: int, passes: int,
    taped_frames: int, taped_entries: int, saturations: int, lowest: bool,
) -> Counts:  # fmt: skip
    """Count one layer's forward pass: `frames` frames, `active` active columns, `passes` passes over M.

    The frames and the saturations of the network are counted with its lowest layer.

    Per frame: N+H deltas are compared (value and transmitted value read, the active ones written), M is read
    for 4H rescales and lookups, H lookups give tanh(c), 3H products give c and h (c read and written, h
    written). Per pass M is read and written. The tape takes 4H gates, H cells and a count a frame, 4 bytes an
    entry.
    """
    rows, columns = 4 * hidden, inputs + hidden
    encode = (feature_bytes + 2) * inputs + 4 * hidden
    return Counts(
        frames=frames if lowest else 0,
        saturations=saturations if lowest else 0,
        macs_forward=rows * active,
        macs_dense_forward=rows * columns * frames,
        macs_dense_training=rows * columns * frames,
        weight_bytes_read=rows * active,
        state_bytes=frames * (encode + 4 * rows + 6 * hidden) + 2 * active + 8 * rows * passes,
        tape_bytes=taped_frames * (2 * rows + 2 * hidden + 2) + 4 * taped_entries,
        activations=5 * hidden * frames,
        elementwise_ops=frames * (columns + rows + 3 * hidden),
        active_columns=active,
        total_columns=columns * frames,
    )


def count_rebuild(hidden: int, columns: int) -> Counts:
    """Count the rebuilding of one layer's M from the `columns` columns whose transmitted value is not 0."""
    rows = 4 * hidden
    passes = columns // 8 + (columns % 8).bit_count()
    return Counts(
        macs_forward=rows * columns,
        weight_bytes_read=rows * columns + 4 * rows,
        state_bytes=4 * rows + 8 * rows * passes + 2 * columns,
    )


def count_backward(hidden: int, frames: int, active: int, dense: int) -> Counts:
    """Count one layer's backward pass: `active` of `dense` columns multiplied over `frames` taped frames.

    Per frame: 16H products and 4H rescales, H lookups, Ch, Cc and CM read and written, gates and two c read,
    CM16 written; per column 16 bytes of C and C^ read and written, and its entry on the tape read.
    """
    rows = 4 * hidden
    return Counts(
        macs_backward=rows * active,
        macs_dense_training=rows * dense,
        weight_bytes_read=rows * active,
        state_bytes=frames * (16 * hidden + 8 * rows) + 16 * active,
        tape_bytes=frames * (4 * rows + 4 * hidden + 2) + (2 * rows + 2) * active,
        activations=hidden * frames,
        elementwise_ops=frames * 20 * hidden,
    )


def count_recompute(hidden: int, frames: int, columns: int, every: int) -> Counts:
    """Count the recomputing of one layer's gates: `columns` columns added over `frames` frames, a start every `every`.

    Its products are part of the backward pass; per frame the gates and c are written to the tape again.
    """
    rows = 4 * hidden
    starts = -(-frames // every)
    return Counts(
        macs_backward=rows * columns,
        weight_bytes_read=rows * columns,
        state_bytes=frames * (8 * rows + 2 * hidden),
        tape_bytes=frames * (2 * rows + 4 * hidden + 2) + 4 * columns + starts * (4 * rows + 2 * hidden),
        activations=5 * hidden * frames,
        elementwise_ops=frames * (rows + 3 * hidden),
    )


def count_gradient(inputs: int, hidden: int, frames: int, entries: int, passes: int | None = None) -> Counts:
    """Count the products CM16 d of one layer's `entries` taped deltas, summed in `passes` passes or one by one.

    Every product reads CM16 from the tape; a pass reads and writes one column's sums.
    """
    rows = 4 * hidden
    return Counts(
        macs_gradient=rows * entries,
        macs_dense_training=rows * (inputs + hidden) * frames,
        state_bytes=8 * rows * (entries if passes is None else passes),
        tape_bytes=(2 * rows + 4) * entries + 2 * frames,
    )


def count_update(
    inputs: int, hidden: int, touched: int, saturations: int, dense: bool = False, momentum: bool = False
) -> Counts:
    """Count one layer's weight update: `touched` columns.

    A touched column reads and writes both planes, clears its sum and reads it once more; the bias is read and
    written with its gradient read. Dense gradients are cleared and read in every column. Velocities are read and
    written.
    """
    rows = 4 * hidden
    summed = inputs + hidden if dense else touched
    velocities = 4 * rows * touched + 8 * rows if momentum else 0
    return Counts(
        saturations=saturations,
        weight_bytes_read=2 * rows * touched + 4 * rows,
        weight_bytes_written=2 * rows * touched + 4 * rows,
        state_bytes=8 * rows * summed + 4 * rows + velocities,
        elementwise_ops=rows * (touched + 1) * (2 if momentum else 1),
    )
