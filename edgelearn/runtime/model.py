"""What a model file of edgelearn means: features, network, prototypes, words, exemplars, and where it all came from."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.activity import MOST_BIAS_Q18, ActivityReadout
from edgelearn.audio.endpoint import EndpointConfig
from edgelearn.audio.melbank import FrontendConfig
from edgelearn.engine.network import LayerConfig, NetworkConfig
from edgelearn.errors import ModelFileError, UsageError
from edgelearn.learning.directions import Saved, no_directions
from edgelearn.learning.head import NO_WHITENING
from edgelearn.learning.rehearsal import RehearsalMemory
from edgelearn.store.model_file import ModelFile, previous_path, read_model, undo_model, write_model

BASE_MODEL = Path(__file__).parent.parent / "assets" / "base.npz"
BACKGROUND = "_background_:"
START_ANEW = "restore it with `edgelearn undo`, or start anew"
ANOTHER_PLACE = "name a place that can be written with EDGELEARN_MODEL"
MOST_BASE_ROWS = 240
"""A record of the rehearsal memory has a byte for its row, and 16 rows are for words that are taught."""
MOST_THRESHOLD_Q14 = 1 << 16
"""No score is as far from 0."""

T = TypeVar("T")


@dataclass(frozen=True)
class Word:
    """A word of the vocabulary: its row in the table, its threshold (Q14), its provenance.

    rejects: the word of which this one collects the false alarms; it takes what resembles them and is never reported.
    """

    name: str
    row: int
    threshold_q14: int
    taught: bool = False
    takes: int = 0
    added: str = ""
    updates: int = 0
    rejects: str = ""


@dataclass(frozen=True)
class Model:
    """Everything a device starts from; arrays are in the formats of the engine and of the learning room.

    labels: `dataset:word` of each base row, for the last ones BACKGROUND and a number: they are no class; params:
    `Network.params`; prototypes int8 [rows, H]; rehearsal: records, uint8; activity: what tells speech from noise;
    whitening: of the classifier; provenance: how the base was made; history: one line for each change since;
    generation: that of the file it was read from, None for a model that was not.
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
    activity: ActivityReadout = field(default_factory=ActivityReadout)
    whitening: NDArray[np.int8] = field(default_factory=lambda: NO_WHITENING)
    directions: Saved = field(default_factory=no_directions)
    provenance: dict[str, Any] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    generation: int | None = None

    @property
    def background_rows(self) -> int:
        """How many of the base rows, the last ones, are no class and only count against words."""
        return sum(label.startswith(BACKGROUND) for label in self.labels)

    @property
    def base_classes(self) -> int:
        """How many of the base rows, the first ones, are classes."""
        return len(self.labels) - self.background_rows

    def rehearsal_memory(self, capacity_bytes: int) -> RehearsalMemory:
        """Return an empty memory for utterances of a device of this model, in an arena of its own."""
        theta = self.network.layers[0].theta_x_q13
        return RehearsalMemory.apart(capacity_bytes, self.frontend.bands, theta, self.endpoint.surroundings)

    def word(self, name: str) -> Word:
        """Return the word called `name`; raises UsageError with what there is."""
        for word in self.words:
            if word.name == name:
                return word
        raise UsageError(f"there is no word {name!r}", "the words are: " + ", ".join(word.name for word in self.words))

    def is_like(self, other: Model) -> bool:
        """Return whether a device that was made for this model can go on with the other one."""
        return (
            (self.network, self.frontend, self.endpoint) == (other.network, other.frontend, other.endpoint)
            and (len(self.labels), self.background_rows) == (len(other.labels), other.background_rows)
            and np.array_equal(self.whitening, other.whitening)
            and np.array_equal(self.activity.weights_q5, other.activity.weights_q5)
            and self.activity.bias_q18 == other.activity.bias_q18
        )

    def renamed(self, old: str, new: str) -> Model:
        """Return the model with a word under another name."""
        word = self.word(old)
        if word.rejects:
            raise UsageError(f"{old!r} is what {word.rejects!r} is not", f"rename {word.rejects!r}, and it follows")
        check_word_name(new)
        if any(other.name == new for other in self.words):
            raise UsageError(f"there is a word {new!r} already", "remove it first, or choose another name")
        words = tuple(
            replace(w, name=new) if w is word
            else replace(w, name=rejected_name(new), rejects=new) if w.rejects == old
            else w
            for w in self.words
        )  # fmt: skip
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
            "activity_bias_q18": self.activity.bias_q18,
            "provenance": self.provenance,
            "history": list(self.history),
        }
        arrays = {f"network.{key}": array for key, array in self.params.items()}
        arrays |= {"prototypes": self.prototypes, "rehearsal": self.rehearsal, "activity": self.activity.weights_q5}
        arrays["whitening"] = self.whitening
        arrays |= {f"directions.{name}": array for name, array in self.directions._asdict().items()}
        return ModelFile(manifest, arrays)

    @classmethod
    def from_file(cls, file: ModelFile, path: Path) -> Model:
        """Read a manifest and arrays back; raises ModelFileError for what does not belong together."""
        m = file.manifest
        try:
            model = cls(
                frontend=_parsed(FrontendConfig, m["frontend"]),
                # a file that was written before utterances had anything around them has neither number
                endpoint=_parsed(EndpointConfig, {"outer_pre_frames": 0, "outer_post_frames": 0, **m["endpoint"]}),
                network=NetworkConfig(tuple(_parsed(LayerConfig, layer) for layer in m["layers"])),
                labels=tuple(map(str, m["labels"])),
                words=tuple(_word(word) for word in m["words"]),
                params={
                    key.removeprefix("network."): array
                    for key, array in file.arrays.items()
                    if key.startswith("network.")
                },
                prototypes=file.arrays["prototypes"],
                rehearsal=file.arrays["rehearsal"],
                open_set_q14=int(m["open_set_q14"]),
                activity=_activity(file),
                # a file that was written before there was any has none
                whitening=file.arrays.get("whitening", NO_WHITENING),
                directions=_directions(file, len(m["labels"])),
                provenance=dict(m["provenance"]),
                history=tuple(map(str, m["history"])),
                generation=m.get("generation"),
            )
            digest = str(m["frontend_digest"])
        except KeyError as error:
            raise ModelFileError(f"{path} is not a complete model: it has no {error.args[0]}", START_ANEW) from None
        except (TypeError, ValueError, UsageError) as error:
            raise ModelFileError(f"{path} is not a complete model: {error}", START_ANEW) from None
        model.check(digest, path)
        return model

    def check(self, digest: str, path: Path) -> None:
        """Raise ModelFileError for parts that do not belong together."""
        if digest != self.frontend.digest or self.frontend.bands != self.network.inputs:
            raise ModelFileError(
                f"{path}: its features are not those its network was trained on", "start from the shipped model"
            )
        if (
            self.prototypes.dtype != np.int8
            or self.prototypes.shape[1:] != (self.network.hidden,)
            or self.rehearsal.dtype != np.uint8
            or self.rehearsal.ndim != 1
        ):
            raise ModelFileError(f"{path}: its prototypes or its exemplars are not those of its network", START_ANEW)
        readout = self.activity
        if readout.weights_q5.dtype != np.int8 or readout.weights_q5.shape not in ((0,), (self.network.hidden,)):
            raise ModelFileError(f"{path}: what tells speech from noise is not that of its network", START_ANEW)
        if abs(readout.bias_q18) > MOST_BIAS_Q18:
            raise ModelFileError(f"{path}: what tells speech from noise is beyond all bounds", START_ANEW)
        whitening, hidden = self.whitening, self.network.hidden
        if (
            whitening.dtype != np.int8
            or whitening.shape not in ((0, 0), (hidden, hidden))
            or not np.array_equal(whitening, whitening.T)
            or (whitening == -128).any()
        ):
            raise ModelFileError(f"{path}: what whitens its embeddings is not that of its network", START_ANEW)
        if any(label.startswith(BACKGROUND) for label in self.labels[: self.base_classes]):
            raise ModelFileError(f"{path}: its classes and its background are mixed up", START_ANEW)
        if not 1 <= self.base_classes <= len(self.labels) <= MOST_BASE_ROWS:
            raise ModelFileError(f"{path}: a model has at least a class, and at most {MOST_BASE_ROWS} rows", START_ANEW)
        if abs(self.open_set_q14) > MOST_THRESHOLD_Q14 or any(
            abs(word.threshold_q14) > MOST_THRESHOLD_Q14 for word in self.words
        ):
            raise ModelFileError(f"{path}: a threshold is beyond all scores", START_ANEW)
        rows = len(self.prototypes)
        if len(self.labels) > rows or any(not 0 <= word.row < rows for word in self.words):
            raise ModelFileError(f"{path}: a word has no prototype", START_ANEW)
        if len({word.name for word in self.words}) < len(self.words):
            raise ModelFileError(f"{path}: two words have the same name", START_ANEW)
        if not self.directions.fits(rows - len(self.labels), self.network.hidden):
            raise ModelFileError(f"{path}: the directions of its words are not those of its words", START_ANEW)


def _directions(file: ModelFile, base_rows: int) -> Saved:
    """Return those of the taught rows of a file; of one that was written before there were any nothing is known."""
    if "directions.heard" not in file.arrays:
        prototypes = file.arrays["prototypes"]
        return no_directions(max(0, len(prototypes) - base_rows), prototypes.shape[-1])
    return Saved(*(file.arrays[f"directions.{name}"] for name in Saved._fields))


def _activity(file: ModelFile) -> ActivityReadout:
    """Return the readout of a file; one that was written before there was any has none."""
    if "activity" not in file.arrays:
        return ActivityReadout()
    return ActivityReadout(file.arrays["activity"], int(file.manifest["activity_bias_q18"]))


def _word(table: dict[str, Any]) -> Word:
    """Return a word of a file; what collects false alarms is called after its word, whatever that was called before."""
    word = _parsed(Word, table)
    return replace(word, name=rejected_name(word.rejects)) if word.rejects else word


def _parsed(kind: type[T], table: dict[str, Any]) -> T:
    """Return a frozen dataclass of plain numbers and texts; TypeError for a key or a value that it cannot have."""
    if not isinstance(table, dict):
        raise TypeError(f"{table!r:.40} is no {kind.__name__}")
    plain: dict[object, Any] = {"int": int, "float": (int, float), "str": str, "bool": bool}
    for item in fields(kind):  # type: ignore[arg-type]
        value = table.get(item.name, item.default)
        if not isinstance(value, plain[item.type]) or (isinstance(value, bool) and item.type != "bool"):
            raise TypeError(f"{item.name} cannot be {value!r:.40}")
    return kind(**table)


def rejected_name(word: str) -> str:
    """Return the name of the class that the false alarms of a word make; no word of a user's can have it."""
    return f"(not {word})"


def check_word_name(name: str) -> None:
    """Raise UsageError for a name that could not stand in a table, a path or an environment variable.

    Vowel signs and accents that are characters of their own belong to the letter before them (Unicode's marks).
    """
    letters = all(c.isalnum() or c in " _-'" or unicodedata.category(c) in ("Mn", "Mc") for c in name)
    if not name or len(name) > 40 or not letters or name != name.strip():
        raise UsageError(f"{name!r} is no name for a word", "use up to 40 letters, digits, spaces, - and _")


def load_model(path: Path) -> Model:
    """Read a model file; raises ModelFileError as `read_model` and `Model.from_file` do."""
    return Model.from_file(read_model(path), path)


def is_first_use(path: Path) -> bool:
    """Return whether there is no model yet; one that was lost can be brought back as long as nothing takes its place.

    Raises ModelFileError for a path that nobody may look at.
    """
    try:
        return not path.exists() and not path.is_symlink() and not previous_path(path).exists()
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror}", ANOTHER_PLACE) from None


def open_user_model(path: Path) -> Model:
    """Read the user's model; where there is none yet, it starts as a copy of the shipped one.

    Raises ModelFileError as `load_model` does, and where the copy cannot be made.
    """
    if is_first_use(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_model(path, read_model(BASE_MODEL), replaces=0)
        except OSError as error:
            raise ModelFileError(f"cannot create {path}: {error.strerror}", ANOTHER_PLACE) from None
        except ModelFileError:
            if not path.exists():  # else another process was first
                raise
    return load_model(path)


def go_back(path: Path, check: Callable[[Model], object] | None = None) -> Model:
    """Swap a model file with the generation before it, which has to be a model that can be used, and return that.

    check: is given it, and raises for one that a device cannot go on with. Raises ModelFileError, or what `check` does,
    and swaps nothing, otherwise.
    """

    def check_file(file: ModelFile) -> None:
        before = Model.from_file(file, previous_path(path))
        if check is not None:
            check(before)

    undo_model(path, check_file)
    return load_model(path)


def save_model(path: Path, model: Model) -> Model:
    """Write a model file atomically and return the model as the generation that this is; the one before can be undone.

    Raises ModelFileError if the file is no longer the one that the model was read from, and for a model that could not
    be read again.
    """
    model.check(model.frontend.digest, path)
    return replace(model, generation=write_model(path, model.to_file(), model.generation))
