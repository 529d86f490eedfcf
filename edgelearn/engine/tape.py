"""What BPTT needs of the forward pass, in a fixed amount of memory: gates, c and sparse deltas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgelearn.engine.arrays import (
    BACKWARD_DONE,
    FRAMES_LEFT_OUT,
    FRAMES_TAPED,
    ColumnScratch,
    TapeArrays,
    TapeLayerArrays,
    bind,
)
from edgelearn.engine.fixedpoint import Int16Array, UInt16Array
from edgelearn.engine.layout import NetworkConfig, tape_regions
from edgelearn.engine.optimizer import MAX_TAPE_FRAMES
from edgelearn.errors import UsageError

if TYPE_CHECKING:
    from edgelearn.device.arena import Arena


class Tape:
    """Up to `capacity_frames` frames of a forward pass and `capacity_entries` active deltas, as arena views.

    Frames are appended by `Network.forward`. One that does not fit ends the recording: it and all later ones are
    counted in `frames_left_out`. Three points on one curve of memory against work:

    - full (checkpoint_every = 0): gates and c of every frame, later CM16 in the place of the gates;
    - checkpoints: M and c every so many frames, and the gates between two of them recomputed from the deltas, the same
      integers; CM16 cannot be kept, so `Network.backward` adds up a dense `WeightGradients`;
    - truncated BPTT: a tape shorter than the utterance, the frames before it run without, the state carried in.

    Raises UsageError for a capacity outside 1..1024 frames, of fewer than 1 entry,
    or an interval below 0.
    """

    def __init__(
        self,
        config: NetworkConfig,
        frames: int,
        pool_entries: int,
        arena: Arena,
        name: str,
        checkpoint_every: int = 0,
    ) -> None:
        if not 1 <= frames <= MAX_TAPE_FRAMES:
            raise UsageError(f"a tape of {frames} frames is outside 1..{MAX_TAPE_FRAMES}")
        if pool_entries < 1:
            raise UsageError(f"a tape needs room for at least 1 delta, not {pool_entries}")
        if checkpoint_every < 0:
            raise UsageError(f"a checkpoint every {checkpoint_every} frames: it must be 0 (none) or more")
        arrays: dict[str, Any] = {
            region: arena.alloc(f"{name}.{region}", shape, dtype)
            for region, shape, dtype in tape_regions(config, frames, pool_entries, checkpoint_every)
        }
        self.config = config
        self.checkpoint_every = checkpoint_every
        self.layers = tuple(
            TapeLayerArrays(*(arrays[f"layer{k}.{field}"] for field in TapeLayerArrays._fields))
            for k in range(len(config.layers))
        )
        self.arrays = TapeArrays(arrays["fill"], arrays["nnz"], arrays["columns"], arrays["deltas"])
        self.scratch = ColumnScratch(*(arrays[f"update.{field}"] for field in ColumnScratch._fields))
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
    def frames_left_out(self) -> int:
        """Frames that were run with this tape but did not fit: learning does not see them."""
        return int(self.arrays.fill[FRAMES_LEFT_OUT])

    @property
    def backward_done(self) -> bool:
        """Whether the gates have been overwritten by gradients: time for an update, then for `reset`."""
        return bool(self.arrays.fill[BACKWARD_DONE])

    def entries_by_layer(self) -> list[int]:
        """Active deltas on the tape, of each layer."""
        return [int(n) for n in self.arrays.nnz[:, : self.frames_taped].sum(axis=1, dtype=np.int64)]

    def frame_deltas(self, layer: int, frame: int) -> tuple[UInt16Array, Int16Array]:
        """Columns, ascending, and deltas (Q13) of one layer that were active in a frame, as copies."""
        nnz = self.arrays.nnz.astype(np.int64)
        start = int(nnz[:, :frame].sum() + nnz[:layer, frame].sum())
        stop = start + int(nnz[layer, frame])
        return self.arrays.columns[start:stop].copy(), self.arrays.deltas[start:stop].copy()
