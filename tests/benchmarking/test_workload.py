"""What is timed is what it says it is: sparsity, shapes, products, and the same network for every peer."""

from __future__ import annotations

import numpy as np
import pytest

from edgelearn.benchmarking.kernels import MatrixPart, Peak
from edgelearn.benchmarking.workload import Runner, make_workload
from edgelearn.runtime.model import BASE_MODEL, load_model


@pytest.fixture(scope="module")
def workload():
    return make_workload(load_model(BASE_MODEL), 32)


@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.9])
def test_sparsity_is_reached_on_speech(workload, wanted):
    assert workload.at_sparsity(wanted).sparsity() == pytest.approx(wanted, abs=0.02)
    assert workload.at(0).sparsity() == 0.0


@pytest.mark.parametrize("bands", [16, 32])
def test_a_second_of_speech_and_a_network_of_that_many_inputs(bands):
    work = make_workload(load_model(BASE_MODEL), bands)
    assert work.frames.shape == (50, bands)
    assert work.frames.std() > 5
    assert work.params["layer0.weights_hi"].shape == (bands + work.layer.hidden, 4 * work.layer.hidden)


def test_timed_learning_runs_the_whole_utterance(workload):
    runner = Runner(workload.at(0))
    runner.learn()
    assert (runner.tape.frames_taped, runner.tape.frames_left_out) == (50, 0)
    assert runner.tape.backward_done


def test_timing_hardly_changes_the_network(workload):
    runner = Runner(workload)
    before = runner.network.masters(0)
    for _ in range(20):
        runner.learn()
    assert np.abs(runner.network.masters(0).astype(int) - before).mean() < 4


def test_matrix_products_are_counted_as_the_engine_counts_them(workload):
    runner = Runner(workload)
    matrix = MatrixPart(runner)
    counts = runner.network.forward(runner.network.new_state("other"), workload.frames)
    later = matrix.macs - 2 * counts.macs_forward
    assert 0 < later < counts.macs_forward
    matrix()


def test_the_gradient_products_of_the_matrix_part_are_those_of_the_engine(workload):
    runner = Runner(workload)
    matrix = MatrixPart(runner)
    matrix()
    gates, total = runner.tape.layers[0].gates.astype(np.int64), np.zeros(512, np.int64)
    last = max(int(c.max()) for c, _ in (runner.tape.frame_deltas(0, t) for t in range(50)) if len(c))
    for t in range(50):
        columns, deltas = runner.tape.frame_deltas(0, t)
        for delta in deltas[columns == last]:
            total += (gates[t] * int(delta) + (1 << 14)) >> 15
    if last == workload.layer.inputs + workload.layer.hidden - 1:
        assert matrix._total.tolist() == total.tolist()


def test_the_peak_does_the_products_it_claims():
    peak = Peak()
    peak()
    expected = 200 * (peak._weights.T.astype(np.int64) @ np.array(peak._deltas, np.int64))
    assert peak._total.tolist() == expected.tolist()
    assert peak.macs == 200 * 8 * 512


def test_pytorch_runs_the_same_network(workload):
    pytest.importorskip("torch")
    from edgelearn.benchmarking.peers import TorchPeer
    from edgelearn.benchmarking.suite import _agreement

    peer = TorchPeer(workload)
    assert _agreement(workload.at(0), peer) < 0.01
    before = peer.lstm.weight_ih_l0.detach().clone()
    for call in (peer.frame(), peer.cell_frame(), peer.sequence(), peer.int8_sequence(), peer.learn):
        call()
    assert 0 < float((peer.lstm.weight_ih_l0.detach() - before).abs().max()) < 1e-3


def test_onnxruntime_runs_the_same_network(workload):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from edgelearn.benchmarking.peers import OnnxPeer
    from edgelearn.benchmarking.suite import _agreement

    peer = OnnxPeer(workload)
    assert _agreement(workload.at(0), peer) < 0.01
    peer.frame()()
    OnnxPeer(workload, int8=True).frame()()


def test_io_binding_carries_the_state(workload):
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    from edgelearn.benchmarking.peers import OnnxPeer

    peer = OnnxPeer(workload)
    made = []
    original = ort.OrtValue.ortvalue_from_numpy
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ort.OrtValue, "ortvalue_from_numpy", lambda a: made.append(original(a)) or made[-1])
        step = peer.bound_frame()
    for _ in range(4):
        step()
    # x, then h and c of each of the two sets; after an even number of steps the first set holds the state
    assert np.allclose(made[1].numpy()[0, 0], peer.hidden()[3], atol=1e-5)
