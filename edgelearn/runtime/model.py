"""What a model file of edgelearn means: features, network, prototypes, words, rehearsal memory, and where all of it came from."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.endpoint import EndpointConfig
from edgelearn.audio.melbank import FrontendConfig
from edgelearn.engine.network import LayerConfig, NetworkConfig
from edgelearn.errors import ModelFileError, UsageError
from edgelearn.store.model_file import ModelFile, read_model, write_model

BASE_MODEL = Path(__file__).parent.parent / "assets" / "base.npz"


@dataclass(frozen=True)
class Word:
    """A word of the vocabulary: its row in the table, its threshold (Q14), its provenance."""

    name: str
    row: int
    threshold_q14: int
    taught: bool = False
    takes: int = 0
    added: str = ""
    updates: int = 0


@dataclass(frozen=True)
class Model:
    """Everything a device starts from; arrays are int8 / int32 / uint8 in the formats of the engine and of the learning room.

    labels: `dataset:word` of each base row; params: `Network.params`; prototypes int8 [rows, H]; rehearsal uint8 records;
    provenance: how the base was made; history: one line for each change since.
    """

    frontend: FrontendConfig
    endpoint: EndpointConfig
    network: NetworkConfig
    labels: tuple[str, ...]
    words: tuple[Word, ...]
    params: dict[str, NDArray[Any]]
    prototypes: NDArray[np.int8]
    rehearsal: NDArray[np.uint8]
    open_set_q14: int
    provenance: dict[str, Any] = field(default_factory=dict)
    history: tuple[str, ...] = ()

    def word(self, name: str) -> Word:
        """Return the word called `name`; raises UsageError with what there is."""
        for word in self.words:
            if word.name == name:
                return word
        raise UsageError(f"there is no word {name!r}", "the words are: " + ", ".join(word.name for word in self.words))

    def renamed(self, old: str, new: str) -> Model:
        """Return the model with a word under another name."""
        word = self.word(old)
        check_word_name(new)
        if any(other.name == new for other in self.words):
            raise UsageError(f"there is a word {new!r} already", "remove it first, or choose another name")
        words = tuple(replace(w, name=new) if w is word else w for w in self.words)
        return replace(self, words=words, history=(*self.history, f"rename {old} {new}"))

    def to_file(self) -> ModelFile:
        """Return the model as a manifest and arrays."""
        manifest = {
            "frontend": asdict(self.frontend),
            "frontend_digest": self.frontend.digest,
            "endpoint": asdict(self.endpoint),
            "layers": [asdict(layer) for layer in self.network.layers],
            "labels": list(self.labels),
            "words": [asdict(word) for word in self.words],
            "open_set_q14": self.open_set_q14,
            "provenance": self.provenance,
            "history": list(self.history),
        }
        arrays = {f"network.{key}": array for key, array in self.params.items()}
        return ModelFile(manifest, arrays | {"prototypes": self.prototypes, "rehearsal": self.rehearsal})

    @classmethod
    def from_file(cls, file: ModelFile, path: Path) -> Model:
        """Read a manifest and arrays back; raises ModelFileError for what does not belong together."""
        m = file.manifest
        try:
            model = cls(
                frontend=FrontendConfig(**m["frontend"]),
                endpoint=EndpointConfig(**m["endpoint"]),
                network=NetworkConfig(tuple(LayerConfig(**layer) for layer in m["layers"])),
                labels=tuple(m["labels"]),
                words=tuple(Word(**word) for word in m["words"]),
                params={
                    key.removeprefix("network."): array
                    for key, array in file.arrays.items()
                    if key.startswith("network.")
                },
                prototypes=file.arrays["prototypes"],
                rehearsal=file.arrays["rehearsal"],
                open_set_q14=int(m["open_set_q14"]),
                provenance=m["provenance"],
                history=tuple(m["history"]),
            )
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise ModelFileError(
                f"{path} is not a complete model: {error}", "restore it with `edgelearn undo`, or start anew"
            ) from None
        if m["frontend_digest"] != model.frontend.digest or model.frontend.bands != model.network.inputs:
            raise ModelFileError(
                f"{path}: its features are not those its network was trained on", "start from the shipped model"
            )
        rows = {word.row for word in model.words}
        if (
            model.prototypes.ndim != 2
            or (rows
            and max(rows) >= len(model.prototypes))
            or len(model.labels) > len(model.prototypes)
        ):
            raise ModelFileError(f"{path}: a word has no prototype", "restore it with `edgelearn undo`, or start anew")
        return model


def check_word_name(name: str) -> None:
    """Raise UsageError for a name that could not stand in a table, a path or an environment variable."""
    if not name or len(name) > 40 or any(not (c.isalnum() or c in " _-'") for c in name) or name != name.strip():
        raise UsageError(f"{name!r} is no name for a word", "use up to 40 letters, digits, spaces, - and _")


def load_model(path: Path) -> Model:
    """Read a model file."""
    return Model.from_file(read_model(path), path)


def open_user_model(path: Path) -> Model:
    """Read the user's model; where there is none yet, it starts as a copy of the shipped one."""
    if not path.exists() and not path.is_symlink():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(path.name + f".{os.getpid()}.new")
            shutil.copyfile(BASE_MODEL, partial)
            os.replace(partial, path)
        except OSError as error:
            raise ModelFileError(
                f"cannot create {path}: {error.strerror}", "name a place that can be written with --model"
            ) from None
    return load_model(path)


def save_model(path: Path, model: Model) -> None:
    """Write a model file atomically; the one before it stays as the generation to go back to."""
    write_model(path, model.to_file())
