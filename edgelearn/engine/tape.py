"""What BPTT needs of the forward pass, in a fixed amount of memory: gates, c and sparse deltas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgelearn.engine.binding import bind
from edgelearn.engine.fixedpoint import Int16Array, UInt16Array
from edgelearn.engine.forward import (
    BACKWARD_DONE,
    ENTRIES_USED,
    FRAMES_LEFT_OUT,
    FRAMES_TAPED,
    TapeArrays,
    TapeLayerArrays,
)
from edgelearn.engine.layout import NetworkConfig, tape_regions
from edgelearn.engine.optimizer import MAX_TAPE_FRAMES, ColumnScratch
from edgelearn.errors import UsageError

if TYPE_CHECKING:
    from edgelearn.device.arena import Arena


class Tape:
    """Up to `capacity_frames` frames of a forward pass and `capacity_entries` active deltas, as arena views.

    Frames are appended by `Network.forward`. One that does not fit ends the recording (truncated BPTT): it
    and all later ones are counted in `frames_left_out`. Raises UsageError for a capacity outside 1..128
    frames (the gradient sum's overflow bound) or of fewer than 1 entry.
    """

    def __init__(
        self, config: NetworkConfig, frames: int, pool_entries: int, arena: Arena, name: str
    ) -> None:
        if not 1 <= frames <= MAX_TAPE_FRAMES:
            raise UsageError(f"a tape of {frames} frames is outside 1..{MAX_TAPE_FRAMES}")
        if pool_entries < 1:
            raise UsageError(f"a tape needs room for at least 1 delta, not {pool_entries}")
        arrays: dict[str, Any] = {
            region: arena.alloc(f"{name}.{region}", shape, dtype)
            for region, shape, dtype in tape_regions(config, frames, pool_entries)
        }
        self.config = config
        self.layers = tuple(
            TapeLayerArrays(arrays[f"layer{k}.gates"], arrays[f"layer{k}.c"])
            for k in range(len(config.layers))
        )
        self.arrays = TapeArrays(arrays["fill"], arrays["nnz"], arrays["columns"], arrays["deltas"])
        self.scratch = ColumnScratch(
            arrays["update.total"], arrays["update.cursor"], arrays["update.frames"], arrays["update.deltas"]
        )

        self.places = bind(*self.layers, self.arrays, self.scratch)

    def reset(self) -> None:
        """Forget everything that was taped."""
        self.arrays.fill[:] = 0

    @property
    def capacity_frames(self) -> int:
        """Most frames that can be taped."""
        return int(self.arrays.nnz.shape[1])

    @property
    def capacity_entries(self) -> int:
        """Most active deltas, of all layers together, that can be taped."""
        return int(self.arrays.columns.shape[0])

    @property
    def frames_taped(self) -> int:
        """Frames on the tape."""
        return int(self.arrays.fill[FRAMES_TAPED])

    @property
    def entries_used(self) -> int:
        """Active deltas on the tape."""
        return int(self.arrays.fill[ENTRIES_USED])

    @property
    def frames_left_out(self) -> int:
        """Frames that were run with this tape but did not fit: learning does not see them."""
        return int(self.arrays.fill[FRAMES_LEFT_OUT])

    @property
    def backward_done(self) -> bool:
        """Whether the gates have been overwritten by gradients: time for an update, then for `reset`."""
        return bool(self.arrays.fill[BACKWARD_DONE])

    def frame_deltas(self, layer: int, frame: int) -> tuple[UInt16Array, Int16Array]:
        """Columns, ascending, and deltas (Q13) of one layer that were active in a frame, as copies."""
        nnz = self.arrays.nnz.astype(np.int64)
        start = int(nnz[:, :frame].sum() + nnz[:layer, frame].sum())
        stop = start + int(nnz[layer, frame])
        return self.arrays.columns[start:stop].copy(), self.arrays.deltas[start:stop].copy()
