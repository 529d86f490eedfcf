"""The model file: what belongs together, how the user's own comes to be, and that no change is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelearn.audio.activity import ActivityReadout
from edgelearn.audio.surroundings import NOTHING_AROUND
from edgelearn.errors import ModelFileError, UsageError
from edgelearn.learning.directions import MOST_LENGTH_Q14, MOST_TAKES, Saved, no_directions
from edgelearn.learning.head import NO_WHITENING
from edgelearn.runtime import model as model_module
from edgelearn.runtime.model import (
    BASE_MODEL,
    Model,
    Word,
    check_word_name,
    load_model,
    open_user_model,
    save_model,
)
from edgelearn.store.model_file import ModelFile, previous_path, undo_model

PATH = Path("m.npz")


def same(a: Model, b: Model) -> bool:
    arrays = ("prototypes", "rehearsal", "whitening")
    return (
        replace(a, params={}, **dict.fromkeys(arrays), activity=None, directions=None, generation=None)  # type: ignore[arg-type]
        == replace(b, params={}, **dict.fromkeys(arrays), activity=None, directions=None, generation=None)  # type: ignore[arg-type]
        and all(map(np.array_equal, a.directions, b.directions))
        and np.array_equal(a.activity.weights_q5, b.activity.weights_q5)
        and a.activity.bias_q18 == b.activity.bias_q18
        and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
        and all(np.array_equal(a.params[key], b.params[key]) for key in a.params | b.params)
    )


def test_a_model_comes_back_from_its_file(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    written = save_model(path, replace(model, generation=None))
    assert written.generation == 1
    assert same(load_model(path), model)
    assert load_model(path).generation == 1
    assert same(Model.from_file(model.to_file(), PATH), model)


def change(table: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    def apply(manifest: dict[str, Any]) -> None:
        part = manifest[table][0] if isinstance(manifest[table], list) else manifest[table]
        part.update(values)

    return apply


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: m.pop("words"), "has no words"),
        (lambda m: m.update(frontend_digest="0" * 16), "features are not those"),
        (change("frontend", hop=256), "features are not those"),
        (change("frontend", bands=2000), "not a complete model"),
        (change("frontend", extra=1), "extra"),
        (change("frontend", hop="320"), "hop cannot be '320'"),
        (change("endpoint", longest=True), "longest cannot be True"),
        (change("layers", inputs=16), "features are not those"),
        (change("layers", hidden=4), "hidden = 4 is outside"),
        (change("words", row=76), "no prototype"),
        (change("words", row=-1), "no prototype"),
        (change("words", row="x"), "row cannot be 'x'"),
        (change("words", name="cat"), "two words have the same name"),
        (lambda m: m.update(labels=["_background_:00", "x"]), "background are mixed up"),
        (lambda m: m.update(words=[3]), "no Word"),
        (lambda m: m.update(words=7), "not a complete model"),
        (lambda m: m.update(labels=["x"] * 77), "no prototype"),
        (lambda m: m.update(open_set_q14="high"), "not a complete model"),
        (lambda m: m.update(activity_bias_q18="high"), "not a complete model"),
        (lambda m: m.pop("activity_bias_q18"), "has no activity_bias_q18"),
        (lambda m: m.update(activity_bias_q18=1 << 29), "beyond all bounds"),
        (lambda m: m.update(provenance=[1]), "not a complete model"),
        (lambda m: m.update(labels=[]), "at least a class"),
        (lambda m: m.update(labels=["_background_:00"] * 76), "at least a class"),
        (lambda m: m.update(labels=[f"x:{n}" for n in range(241)]), "at most 240 rows"),
        (change("words", threshold_q14=-(1 << 31)), "beyond all scores"),
        (lambda m: m.update(open_set_q14=1 << 17), "beyond all scores"),
        (change("endpoint", fade=0), "1 or more"),
        (change("endpoint", pre_frames=-1), "0 or more"),
        (change("endpoint", hang_frames=3), "cannot be kept of 3 of silence"),
        (change("endpoint", longest=250), "at most 255 frames"),
        (change("endpoint", onset=1 << 17), "above 65536"),
        (change("endpoint", hang_frames=1 << 63), "above 65536"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    model: Model, spoil: Callable[[dict[str, Any]], None], message: str
) -> None:
    file = model.to_file()
    spoil(file.manifest)
    with pytest.raises(ModelFileError, match=message) as caught:
        Model.from_file(file, PATH)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"prototypes": None}, "has no prototypes"),
        ({"rehearsal": None}, "has no rehearsal"),
        ({"prototypes": np.zeros((60, 127), np.int8)}, "not those of its network"),
        ({"prototypes": np.zeros((60, 128), np.int16)}, "not those of its network"),
        ({"prototypes": np.zeros(128, np.int8)}, "not those of its network"),
        ({"prototypes": np.zeros((3, 128), np.int8)}, "no prototype"),
        ({"rehearsal": np.zeros((2, 2), np.uint8)}, "not those of its network"),
        ({"rehearsal": np.zeros(2, np.int32)}, "not those of its network"),
        ({"directions.lengths_q14": None}, "has no directions.lengths_q14"),
        ({"directions.heard": np.zeros((1, 2), np.int32)}, "directions of its words"),
        ({"directions.vectors": np.zeros((1, 4, 128), np.int8)}, "directions of its words"),
        ({"activity": np.zeros(64, np.int8)}, "tells speech from noise is not that of its network"),
        ({"activity": np.zeros(128, np.int16)}, "tells speech from noise is not that of its network"),
        ({"whitening": np.zeros((64, 64), np.int8)}, "whitens its embeddings is not that of its network"),
        ({"whitening": np.zeros((128, 128), np.int16)}, "whitens its embeddings is not that of its network"),
        ({"whitening": np.zeros(128, np.int8)}, "whitens its embeddings is not that of its network"),
        ({"whitening": np.tri(128, dtype=np.int8)}, "whitens its embeddings is not that of its network"),
        ({"whitening": np.full((128, 128), -128, np.int8)}, "whitens its embeddings is not that of its network"),
    ],
)
def test_arrays_that_are_missing_or_of_another_shape_are_refused(
    model: Model, arrays: dict[str, Any], message: str
) -> None:
    file = model.to_file()
    whole = {name: array for name, array in (file.arrays | arrays).items() if array is not None}
    with pytest.raises(ModelFileError, match=message):
        Model.from_file(ModelFile(file.manifest, whole), PATH)


def test_a_model_from_before_there_was_a_readout_has_none(model: Model) -> None:
    file = model.to_file()
    del file.arrays["activity"], file.manifest["activity_bias_q18"]
    assert len(Model.from_file(file, PATH).activity.weights_q5) == 0


def test_a_model_from_before_utterances_had_surroundings_hears_none(model: Model) -> None:
    """Its exemplars are what they were: words without anything around them."""
    file = model.to_file()
    for name in ("outer_pre_frames", "outer_post_frames"):
        del file.manifest["endpoint"][name]
    before = Model.from_file(file, PATH)
    assert before.endpoint == replace(model.endpoint, outer_pre_frames=0, outer_post_frames=0)
    assert before.endpoint.surroundings == NOTHING_AROUND != model.endpoint.surroundings
    file.manifest["endpoint"] = 7
    with pytest.raises(ModelFileError, match="not a complete model"):
        Model.from_file(file, PATH)


def test_a_model_from_before_there_was_a_whitening_has_none(model: Model) -> None:
    file = model.to_file()
    del file.arrays["whitening"]
    assert Model.from_file(file, PATH).whitening.shape == (0, 0)


def with_a_taught_word(model: Model) -> ModelFile:
    rows = np.vstack([model.prototypes, model.prototypes[:1]])
    return replace(model, prototypes=rows, directions=no_directions(1, 128)).to_file()


def test_of_a_model_from_before_there_were_directions_none_are_known(model: Model) -> None:
    file = with_a_taught_word(model)
    for name in Saved._fields:
        del file.arrays[f"directions.{name}"]
    assert Model.from_file(file, PATH).directions.fits(1, 128)


@pytest.mark.parametrize(("name", "most"), [("heard", MOST_TAKES), ("lengths_q14", MOST_LENGTH_Q14)])
def test_directions_beyond_their_bounds_are_refused(model: Model, name: str, most: int) -> None:
    file = with_a_taught_word(model)
    vectors = file.arrays["directions.vectors"]
    for other in (vectors[:, :3], vectors.astype(np.int16), vectors[:, :, :64]):
        file.arrays["directions.vectors"] = other
        with pytest.raises(ModelFileError, match="directions of its words"):
            Model.from_file(file, PATH)
    file.arrays["directions.vectors"] = vectors
    numbers = file.arrays[f"directions.{name}"]
    numbers[0, 0] = most
    assert Model.from_file(file, PATH).directions.fits(1, 128)
    for wrong in (most + 1, -1):
        numbers[0, 0] = wrong
        with pytest.raises(ModelFileError, match="directions of its words"):
            Model.from_file(file, PATH)


def test_the_users_model_starts_as_the_shipped_one(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "model.npz"
    assert same(open_user_model(path), model)
    first = path.read_bytes()
    assert same(open_user_model(path), model)
    assert path.read_bytes() == first
    assert not previous_path(path).exists()
    assert sorted(p.name for p in path.parent.iterdir()) == [".model.npz.lock", "model.npz"]


def test_of_two_first_uses_one_creates_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.npz"
    read = model_module.read_model

    def read_while_another_creates(source: Path) -> ModelFile:
        if source == BASE_MODEL and not path.exists():
            monkeypatch.setattr(model_module, "read_model", read)
            open_user_model(path)
        return read(source)

    monkeypatch.setattr(model_module, "read_model", read_while_another_creates)
    assert open_user_model(path).generation == 1
    assert not previous_path(path).exists()


def test_a_model_that_was_lost_is_not_replaced_by_the_shipped_one(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    save_model(path, open_user_model(path).renamed("bed", "cot"))
    path.unlink()
    with pytest.raises(ModelFileError, match="no model file") as caught:
        open_user_model(path)
    assert "edgelearn undo" in caught.value.hint
    undo_model(path)
    assert same(open_user_model(path), model)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ModelFileError, match="cannot create"):
        open_user_model(tmp_path / "x" / "model.npz")


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(ModelFileError, match="cannot create"):
        open_user_model(tmp_path / "x" / "model.npz")


def test_no_change_is_lost_when_two_programs_change_a_model(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    mine, other = open_user_model(path), open_user_model(path)
    other = save_model(path, other.renamed("bed", "cot"))
    before = path.read_bytes(), previous_path(path).read_bytes()
    with pytest.raises(ModelFileError, match="changed by another program") as caught:
        save_model(path, mine.renamed("cat", "feline"))
    assert caught.value.hint
    assert (path.read_bytes(), previous_path(path).read_bytes()) == before
    # whoever has the newest generation goes on
    other = save_model(path, other.renamed("cat", "feline"))
    assert [change.split()[0] for change in load_model(path).history] == ["rename", "rename"]
    undo_model(path)
    with pytest.raises(ModelFileError, match="changed by another program"):
        save_model(path, other.renamed("down", "low"))


def test_a_model_from_no_file_replaces_any(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    for generation in (1, 2):
        assert save_model(path, replace(model, generation=None)).generation == generation


def test_false_alarms_of_a_word_follow_its_name(model: Model) -> None:
    """So that a word of the old name can have false alarms of its own, and both can be read again."""
    alarm = Word("(not bed)", 0, 0, True, rejects="bed")
    renamed = replace(model, words=(*model.words, alarm)).renamed("bed", "cot")
    assert (renamed.words[-1].name, renamed.words[-1].rejects) == ("(not cot)", "cot")
    stale = replace(renamed, words=(*renamed.words[:-1], replace(renamed.words[-1], name="(not bed)")))
    assert Model.from_file(stale.to_file(), PATH).words[-1].name == "(not cot)"


def test_what_could_not_be_read_again_is_not_written(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    with pytest.raises(ModelFileError, match="two words have the same name"):
        save_model(path, replace(model, words=(*model.words, model.words[0]), generation=None))
    assert not path.exists()


def test_a_device_goes_on_only_with_a_model_of_its_kind(model: Model) -> None:
    assert model.is_like(replace(model, words=model.words[:3], history=("undone",)))
    assert not model.is_like(replace(model, whitening=NO_WHITENING))
    assert not model.is_like(replace(model, activity=ActivityReadout()))
    assert not model.is_like(replace(model, labels=model.labels[:-1]))
    assert not model.is_like(replace(model, labels=(*model.labels[:-1], "x:y")))
    assert not model.is_like(replace(model, endpoint=replace(model.endpoint, onset=201)))


def test_renaming(model: Model) -> None:
    renamed = model.renamed("bed", "cot")
    assert renamed.word("cot").row == model.word("bed").row
    assert [word.name for word in renamed.words][1:] == [word.name for word in model.words][1:]
    assert renamed.history == (*model.history, "rename bed cot")
    for old, new, message in (("nope", "x", "no word 'nope'"), ("bed", "cat", "'cat' already"), ("bed", "", "no name")):
        with pytest.raises(UsageError, match=message):
            model.renamed(old, new)


@pytest.mark.parametrize("name", ["lamp", "turn it on", "l'été", "灯", "a-b_c 2", "x" * 40])
def test_names(name: str) -> None:
    check_word_name(name)


@pytest.mark.parametrize("name", ["", " lamp", "a/b", "a\nb", "a=b", "x" * 41, "\x00"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UsageError, match="no name"):
        check_word_name(name)
