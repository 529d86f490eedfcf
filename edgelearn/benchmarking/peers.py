"""What one would use instead: PyTorch and ONNX Runtime with the same weights on the same input, at their best.

One thread each. PyTorch runs nn.LSTM in inference mode, the whole sequence in one fused call or a step at a time
as a stream comes, LSTMCell for the quickest single step, and its int8 dynamic LSTM. ONNX Runtime runs one step
with the state carried, by `run` and by IO binding with two sets of buffers that change places.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from edgelearn.benchmarking.workload import Workload, pooled_gradient
from edgelearn.errors import UsageError

PEERS = ("torch", "onnxruntime")
INSTALL = "pip install 'edgelearn[bench]'"
_NEEDS = {"torch": ("torch",), "onnxruntime": ("onnx", "onnxruntime")}
ONNX_OPSET, ONNX_IR = 17, 8
LEARNING_RATE = 1e-6


def choose(names: str | None) -> list[str]:
    """Return the peers of a comma-separated list, all by default; raises UsageError for an unknown one."""
    chosen = [name.strip() for name in names.split(",")] if names is not None else list(PEERS)
    for name in chosen:
        if name not in PEERS:
            raise UsageError(f"there is no peer {name!r}", f"there are: {', '.join(PEERS)}")
    return chosen


def missing(name: str) -> list[str]:
    """Return the packages of a peer that are not installed."""
    return [package for package in _NEEDS[name] if importlib.util.find_spec(package) is None]


class TorchPeer:
    """PyTorch with one thread."""

    def __init__(self, work: Workload) -> None:
        import torch

        torch.set_num_threads(1)
        self._torch: Any = torch
        layer = work.layer
        weights, bias = (torch.from_numpy(array) for array in work.float_weights())
        tensors = {
            "weight_ih_l0": weights[: layer.inputs].T.contiguous(),
            "weight_hh_l0": weights[layer.inputs :].T.contiguous(),
            "bias_ih_l0": bias,
            "bias_hh_l0": torch.zeros_like(bias),
        }
        self.lstm: Any = torch.nn.LSTM(layer.inputs, layer.hidden)
        self.lstm.load_state_dict(tensors)
        self.cell: Any = torch.nn.LSTMCell(layer.inputs, layer.hidden)
        self.cell.load_state_dict({key.removesuffix("_l0"): value for key, value in tensors.items()})
        self.x: Any = torch.from_numpy(work.float_frames())[:, None]
        self._grad: Any = torch.from_numpy(pooled_gradient(layer.hidden) / 2.0**15).float()
        self._optimizer: Any = torch.optim.SGD(self.lstm.parameters(), lr=LEARNING_RATE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch's plans for its quantisation
            self._int8: Any = torch.ao.quantization.quantize_dynamic(
                torch.nn.Sequential(self.lstm), {torch.nn.LSTM}, dtype=torch.qint8
            )
        self._frames = [self.x[t : t + 1] for t in range(len(self.x))]

    def inference(self, work: Callable[[], object]) -> Callable[[], object]:
        """Return `work` under inference mode."""

        def run() -> object:
            with self._torch.inference_mode():
                return work()

        return run

    def frame(self) -> Callable[[], object]:
        """One step of nn.LSTM, the state carried."""
        carried: list[Any] = [None]
        count = [0]

        def run() -> None:
            _, carried[0] = self.lstm(self._frames[count[0]], carried[0])
            count[0] = (count[0] + 1) % len(self._frames)

        return self.inference(run)

    def cell_frame(self) -> Callable[[], object]:
        """One step of nn.LSTMCell, the state carried."""
        carried: list[Any] = [None]
        count = [0]

        def run() -> None:
            carried[0] = self.cell(self._frames[count[0]][0], carried[0])
            count[0] = (count[0] + 1) % len(self._frames)

        return self.inference(run)

    def sequence(self) -> Callable[[], object]:
        """The whole utterance in one call."""
        return self.inference(lambda: self.lstm(self.x))

    def int8_sequence(self) -> Callable[[], object]:
        """The whole utterance in one call of the int8 dynamic LSTM."""
        return self.inference(lambda: self._int8(self.x))

    def learn(self) -> None:
        """Forward, backward from a gradient of the pooled output, SGD."""
        self._optimizer.zero_grad()
        out, _ = self.lstm(self.x)
        (out.sum(0) * self._grad).sum().backward()
        self._optimizer.step()

    def hidden(self) -> Any:
        """Return h [T, H] of the utterance."""
        with self._torch.inference_mode():
            return self.lstm(self.x)[0][:, 0].numpy()


class OnnxPeer:
    """ONNX Runtime on the CPU with one thread; `int8`: weights quantised dynamically by its own tool."""

    def __init__(self, work: Workload, int8: bool = False) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        model = _quantised(_lstm_model(work)) if int8 else _lstm_model(work)
        self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._x = work.float_frames()[:, None]
        self._zero = np.zeros((1, 1, work.layer.hidden), np.float32)

    def frame(self) -> Callable[[], object]:
        """One step by `run`, the state carried."""
        state = [self._zero, self._zero]
        count = [0]
        session, frames, outputs = self._session, [x[None] for x in self._x], ["h1", "c1"]

        def run() -> None:
            state[:] = session.run(outputs, {"x": frames[count[0]], "h0": state[0], "c0": state[1]})
            count[0] = (count[0] + 1) % len(frames)

        return run

    def bound_frame(self) -> Callable[[], object]:
        """One step by IO binding: the input is copied into its buffer, two sets of state change places."""
        import onnxruntime

        make = onnxruntime.OrtValue.ortvalue_from_numpy
        x = self._x[:1].copy()
        sound = make(x)
        sets = [[make(self._zero.copy()) for _ in range(2)] for _ in range(2)]
        bindings = []
        for k in range(2):
            binding = self._session.io_binding()
            binding.bind_ortvalue_input("x", sound)
            for n, name in enumerate(("h", "c")):
                binding.bind_ortvalue_input(f"{name}0", sets[k][n])
                binding.bind_ortvalue_output(f"{name}1", sets[1 - k][n])
            bindings.append(binding)
        count = [0]
        session, frames = self._session, [frame[None] for frame in self._x]

        def run() -> None:
            t = count[0]
            sound.update_inplace(frames[t % len(frames)])
            session.run_with_iobinding(bindings[t % 2])
            count[0] = t + 1

        return run

    def hidden(self) -> Any:
        """Return h [T, H] of the utterance."""
        return self._session.run(["y"], {"x": self._x, "h0": self._zero, "c0": self._zero})[0][:, 0, 0]


def _lstm_model(work: Workload) -> bytes:
    """Return a model of one LSTM node; its gates are in the order i o f c."""
    import onnx

    layer, (weights, bias) = work.layer, work.float_weights()
    order = np.concatenate([np.arange(layer.hidden) + gate * layer.hidden for gate in (0, 3, 1, 2)])
    arrays = {
        "W": weights[: layer.inputs, order].T[None],
        "R": weights[layer.inputs :, order].T[None],
        "B": np.concatenate([bias[order], np.zeros_like(bias)])[None],
    }
    value: Any = onnx.helper.make_tensor_value_info
    real, state = onnx.TensorProto.FLOAT, [1, 1, layer.hidden]
    node = onnx.helper.make_node(
        "LSTM", ["x", "W", "R", "B", "", "h0", "c0"], ["y", "h1", "c1"], hidden_size=layer.hidden
    )
    graph = onnx.helper.make_graph(
        [node],
        "lstm",
        [value("x", real, ["T", 1, layer.inputs]), value("h0", real, state), value("c0", real, state)],
        [value("y", real, ["T", 1, 1, layer.hidden]), value("h1", real, state), value("c1", real, state)],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in arrays.items()],
    )
    opset = onnx.helper.make_opsetid("", ONNX_OPSET)
    serialised: bytes = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=ONNX_IR).SerializeToString()
    return serialised


def _quantised(model: bytes) -> bytes:
    import logging
    import tempfile
    from pathlib import Path

    import onnx
    from onnxruntime.quantization import quantize_dynamic

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it recommends a preparation that an LSTM has no use for
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            quantize_dynamic(onnx.load_from_string(model), path)
            return path.read_bytes()
    finally:
        logger.setLevel(level)
