"""How alike the sounds of a corpus are to networks that have heard far more speech: what the embedding is drawn to.

Two of them, much too large for the device, are asked once about every sound as it was recorded; the student hears the
same sound augmented.  They are the ResNet-50 of EfficientWord-Net (Apache-2.0), which tells words apart by ArcFace and
learned that from the Multilingual Spoken Words Corpus, and the encoder of Moonshine tiny (MIT; Jeffries et al.,
"Moonshine: Speech Recognition for Live Transcription and Voice Commands", arXiv 2410.15608), a speech recogniser.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession, SessionOptions
from python_speech_features import logfbank

from edgelearn.pretrain.augment import SAMPLE_RATE_HZ
from edgelearn.pretrain.corpus import Corpus
from edgelearn.pretrain.wheels import WheelFile

WORD_NETWORK = WheelFile(
    "EfficientWord-Net==1.0.5",
    "eff_word_net/models/resnet_50_arc/slim_93%_accuracy_72.7390%.onnx",
    "373916c2a52dffb716738ac451d384ca2097d4cca5bde1357377023da8e47cbe",
)
RECOGNISER = WheelFile(
    "moonshine-voice==0.0.73",
    "moonshine_voice/assets/tiny-en/encoder_model.ort",
    "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
)
SAMPLES = 24000  # what the word network reads
WINDOWS, WINDOW_FRAMES = 5, 8  # the recogniser's frames are 24 ms apart
DIMENSIONS = 256
SHRINKAGE = 0.1

Floats = NDArray[np.float32]
Network = Callable[[Floats], Floats]


def reference_units(corpus: Corpus) -> Floats:
    """Return a unit vector for every source of `corpus`, float32 [sources, DIMENSIONS], to compare by cosine.

    Each network's embedding of 1.5 s around the middle of the word is brought into coordinates in which clips of one
    word spread alike in all directions; of both together, what matters most to the classes of the corpus is kept.
    """
    labels = np.array([corpus.label(n) for n in range(corpus.sources)])
    networks = (word_network(), recogniser())
    heard: tuple[list[Floats], ...] = tuple([] for _ in networks)
    with ThreadPoolExecutor(len(networks)) as pool:
        for number in range(corpus.sources):
            samples = crop(corpus, number)  # not in the threads: the corpus's front end has a state
            for vectors, vector in zip(heard, pool.map(_ask, networks, repeat(samples)), strict=True):
                vectors.append(vector)
    return combine([whiten(np.stack(vectors), labels, len(corpus.words)) for vectors in heard], labels)


def _ask(network: Network, samples: Floats) -> Floats:
    return network(samples)


def combine(units: list[Floats], labels: NDArray[np.int64]) -> Floats:
    """Return unit vectors whose cosines are about the mean of those in `units`, DIMENSIONS of them at most.

    Their directions are the principal ones of the sources with a class (labels >= 0).
    """
    together = np.concatenate(units, axis=1).astype(np.float64)
    classed = together[labels >= 0]
    _, axes = np.linalg.eigh(classed.T @ classed)
    kept = together @ axes[:, ::-1][:, :DIMENSIONS]
    return np.asarray(kept / np.linalg.norm(kept, axis=1, keepdims=True), np.float32)


def whiten(embedded: Floats, labels: NDArray[np.int64], words: int) -> Floats:
    """Return unit vectors after whitening by the covariance of clips around the mean of their word (labels < `words`).

    The covariance is shrunk by a tenth towards a multiple of the identity.
    """
    spoken = (labels >= 0) & (labels < words)
    centred = embedded.astype(np.float64) - embedded[spoken].mean(axis=0)
    around = [centred[labels == word] - centred[labels == word].mean(axis=0) for word in range(words)]
    within = sum(clips.T @ clips for clips in around) / spoken.sum()
    spread, axes = np.linalg.eigh(within + SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within)))
    white = centred @ (axes / np.sqrt(spread))
    return np.asarray(white / np.linalg.norm(white, axis=1, keepdims=True), np.float32)


def word_network() -> Network:
    """Return what makes an embedding, float32 [2048], of SAMPLES by the word network."""
    session = _session(WORD_NETWORK)

    def embed(samples: Floats) -> Floats:
        # without a window, as its own front end has it
        features = logfbank(samples.astype(np.float64), SAMPLE_RATE_HZ, nfilt=64, nfft=512, preemph=0)
        embedding: Floats = session.run(None, {"input": features[None, None].astype(np.float32)})[0][0]
        return embedding

    return embed


def recogniser() -> Network:
    """Return what makes an embedding, float32 [WINDOWS x 288], of SAMPLES by the recogniser.

    These are the means of its states in windows of 192 ms, side by side around the middle.
    """
    session = _session(RECOGNISER)
    mask = np.ones((1, SAMPLES), np.int64)

    def embed(samples: Floats) -> Floats:
        states = session.run(None, {"input_values": samples[None], "attention_mask": mask})[0][0]
        first = len(states) // 2 - WINDOWS * WINDOW_FRAMES // 2
        windows = states[first : first + WINDOWS * WINDOW_FRAMES].reshape(WINDOWS, WINDOW_FRAMES, -1)
        means: Floats = windows.mean(axis=1).ravel()
        return means

    return embed


def _session(file: WheelFile) -> InferenceSession:
    options = SessionOptions()
    options.intra_op_num_threads = 1  # one thread a network, and the same sums whatever the machine
    return InferenceSession(file.read(), options, providers=["CPUExecutionProvider"])


def crop(corpus: Corpus, number: int) -> Floats:
    """Return SAMPLES of source `number` around the middle of its word, full scale 1, silence where there are none."""
    sound, start = corpus.source(number), corpus.middle(number) - SAMPLES // 2
    low, high = max(0, start), min(len(sound), start + SAMPLES)
    samples = np.zeros(SAMPLES, np.float32)
    samples[low - start : high - start] = sound[low:high] / np.float32(32768)
    return samples
