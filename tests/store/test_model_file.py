"""The model file: the right content or one clear error, whatever happens to its bytes, disk or power."""

import hashlib
import io
import json
import os
import subprocess
import sys
import textwrap
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from edgelearn.errors import ModelFileError
from edgelearn.store import encoding, model_file
from edgelearn.store.model_file import ModelFile, previous_path, read_model, undo_model, write_model

ARRAYS = {
    "layer0.weights_hi": np.arange(-60, 60, dtype=np.int8).reshape(10, 12),
    "layer0.bias": np.array([-(2**30), 0, 2**30], np.int32),
    "head.scale": np.array(0.5, np.float32),
    "rehearsal.empty": np.zeros((0, 4), np.int16),
}


def make(word="yes"):
    return ModelFile({"words": [word], "notes": {"größe": 1}}, dict(ARRAYS))


def same(a, b):
    strip = [{k: v for k, v in m.manifest.items() if k not in encoding.RESERVED_KEYS} for m in (a, b)]
    return (
        strip[0] == strip[1]
        and a.arrays.keys() == b.arrays.keys()
        and all(a.arrays[k].dtype == b.arrays[k].dtype and np.array_equal(a.arrays[k], b.arrays[k]) for k in a.arrays)
        and all(a.arrays[k].shape == b.arrays[k].shape for k in a.arrays)
    )


def seal(members, *, compression=zipfile.ZIP_STORED):
    """A hostile file: any members at all, under a seal that is right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
        archive.comment = b"edgelearn-model sha256:" + b"0" * 64
    body = buffer.getvalue()[:-64]
    return body + hashlib.sha256(body).hexdigest().encode()


def manifest(**changes):
    entry = {"dtype": "int8", "shape": [3], "sha256": hashlib.sha256(b"abc").hexdigest()}
    whole = {"format": "edgelearn-model", "format_version": 1, "generation": 1, "arrays": {"a": entry}}
    return json.dumps(whole | changes)


def described(**changes):
    entry = {"dtype": "int8", "shape": [3], "sha256": hashlib.sha256(b"abc").hexdigest()}
    return manifest(arrays={"a": entry | changes})


MEMBER = encoding._npy_header("int8", [3]) + b"abc"


def test_a_model_comes_back_as_it_was(tmp_path):
    path = tmp_path / "m.edgelearn"
    write_model(path, make())
    model = read_model(str(path))
    assert same(model, make())
    assert model.manifest["generation"] == 1
    assert model.arrays["layer0.bias"].flags.writeable
    assert sorted(os.listdir(tmp_path)) == [".m.edgelearn.lock", "m.edgelearn"]


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"\A[a-z0-9_]{1,8}\.[a-z]{1,4}\Z"),
        st.sampled_from(sorted(encoding.DTYPES)).flatmap(
            lambda d: nps.arrays(d, nps.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
        ),
        max_size=4,
    )
)
def test_any_arrays_survive_and_the_same_model_is_the_same_bytes(arrays):
    data = encoding.encode_model(ModelFile({}, arrays), 7)
    back = encoding.decode_model(data, "m")
    assert all(back.arrays[k].tobytes() == arrays[k].tobytes() for k in arrays)
    assert encoding.encode_model(back, 7) == data


def test_byte_order_and_memory_order_do_not_matter():
    plain = np.arange(6, dtype=np.int16).reshape(2, 3)
    odd = np.asfortranarray(plain.astype(">i2"))
    assert encoding.encode_model(ModelFile({}, {"a": odd}), 1) == encoding.encode_model(ModelFile({}, {"a": plain}), 1)


def test_numpy_opens_the_file_as_an_npz(tmp_path):
    path = tmp_path / "m.npz"
    write_model(path, make())
    with np.load(path, allow_pickle=False) as npz:
        for name, array in ARRAYS.items():
            assert np.array_equal(npz[name], array)
            assert npz[name].shape == array.shape


def test_every_flipped_byte_is_noticed():
    data = encoding.encode_model(make(), 3)
    wrong = []
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << (at % 8)
        try:
            model = encoding.decode_model(bytes(damaged), "m")
        except ModelFileError:
            continue
        if not same(model, make()):
            wrong.append(at)
    assert wrong == []


def test_every_truncation_and_extension_is_noticed():
    data = encoding.encode_model(make(), 3)
    for length in range(len(data)):
        with pytest.raises(ModelFileError):
            encoding.decode_model(data[:length], "m")
    for extra in (b"\0", data):
        with pytest.raises(ModelFileError):
            encoding.decode_model(data + extra, "m")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=60))
def test_hostile_bytes_under_a_right_seal_never_raise_anything_else(middle, tail):
    good = encoding.encode_model(make(), 3)
    body = good[: len(good) // 2] + middle + good[len(good) // 2 : -64 - len(tail)]
    for data in (middle, b"PK\x03\x04" + middle, body + encoding._SEAL):
        sealed = data + hashlib.sha256(data).hexdigest().encode()
        try:
            model = encoding.decode_model(sealed, "m")
        except ModelFileError:
            continue
        assert same(model, make())


def test_resealed_flips_never_raise_anything_else():
    """The seal alone does not carry the safety: the zip, the manifest and the arrays are checked as well."""
    data = encoding.encode_model(make(), 3)
    outcomes = set()
    for at in range(0, len(data) - 64, 2):
        body = bytearray(data[:-64])
        body[at] ^= 0xFF
        try:
            model = encoding.decode_model(bytes(body) + hashlib.sha256(body).hexdigest().encode(), "m")
        except ModelFileError:
            outcomes.add("refused")
        else:
            assert all(np.array_equal(model.arrays[k], ARRAYS[k]) for k in model.arrays)
            outcomes.add("harmless")
    assert "refused" in outcomes


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("manifest.json", manifest(format_version=2)), ("a.npy", MEMBER)], "newer edgelearn"),
        ([("manifest.json", manifest(format_version="1")), ("a.npy", MEMBER)], "format version"),
        ([("manifest.json", manifest(format_version=True)), ("a.npy", MEMBER)], "format version"),
        ([("manifest.json", manifest(format="other")), ("a.npy", MEMBER)], "does not say"),
        ([("manifest.json", manifest(generation=-1)), ("a.npy", MEMBER)], "generation"),
        ([("manifest.json", manifest(arrays=[])), ("a.npy", MEMBER)], "generation and arrays"),
        ([("manifest.json", "[]"), ("a.npy", MEMBER)], "does not say"),
        ([("manifest.json", "[" * 100_000)], "not JSON"),
        ([("manifest.json", b"\xff\xfe\xfa"), ("a.npy", MEMBER)], "not JSON"),
        ([("a.npy", MEMBER)], "no manifest"),
        ([("manifest.json", " " * (encoding.MAX_MANIFEST_BYTES + 1))], "plausible size"),
        ([("manifest.json", manifest())], "does not list"),
        ([("manifest.json", manifest()), ("a.npy", MEMBER), ("b.npy", MEMBER)], "does not list"),
        ([("manifest.json", manifest()), ("a.npy", MEMBER[:-1] + b"X")], "checksum"),
        ([("manifest.json", manifest()), ("a.npy", MEMBER + b"d")], "does not hold 3 bytes"),
        ([("manifest.json", manifest()), ("a.npy", b"X" + MEMBER[1:])], "does not hold 3 bytes"),
        ([("manifest.json", described(shape=[2**50])), ("a.npy", MEMBER)], "absurd"),
        ([("manifest.json", described(shape=[0, 2**62])), ("a.npy", MEMBER)], "absurd"),
        ([("manifest.json", described(shape=[2**40] * 8)), ("a.npy", MEMBER)], "absurd"),
        ([("manifest.json", described(shape=[-3])), ("a.npy", MEMBER)], "impossible shape"),
        ([("manifest.json", described(shape=[3.0])), ("a.npy", MEMBER)], "impossible shape"),
        ([("manifest.json", described(shape=[1] * 40)), ("a.npy", MEMBER)], "impossible shape"),
        ([("manifest.json", described(dtype="object")), ("a.npy", MEMBER)], "unknown type"),
        ([("manifest.json", described(dtype=["O"])), ("a.npy", MEMBER)], "unknown type"),
        ([("manifest.json", manifest(arrays={"a": 3})), ("a.npy", MEMBER)], "not described"),
    ],
)
def test_hostile_content_is_refused_with_the_reason(members, message):
    with pytest.raises(ModelFileError, match=message) as caught:
        encoding.decode_model(seal(members), "my model")
    assert "my model" in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 4


def test_a_sealed_file_of_the_expected_kind_is_read():
    model = encoding.decode_model(seal([("manifest.json", manifest()), ("a.npy", MEMBER)]), "m")
    assert model.arrays["a"].tolist() == [97, 98, 99]


def test_a_zip_bomb_is_refused_before_it_unfolds():
    bomb = seal([("manifest.json", manifest()), ("a.npy", bytes(50_000_000))], compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    with pytest.raises(ModelFileError, match="compressed or overlapping"):
        encoding.decode_model(bomb, "m")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused():
    twice = seal([("manifest.json", manifest()), ("a.npy", MEMBER), ("a.npy", MEMBER)])
    with pytest.raises(ModelFileError, match="two entries"):
        encoding.decode_model(twice, "m")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"RIFF....WAVE", "not an edgelearn model"),
        (b"PK\x03\x04 a zip", "truncated, or is not"),
    ],
)
def test_foreign_files_are_refused_and_never_overwritten(tmp_path, content, message):
    path = tmp_path / "m"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        read_model(path)
    with pytest.raises(ModelFileError, match="will not overwrite"):
        write_model(path, make())
    assert path.read_bytes() == content


def test_a_pickle_is_not_loaded(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, a=np.array([{"x": 1}], object))
    with pytest.raises(ModelFileError, match="not an edgelearn model"):
        read_model(path)


def test_a_damaged_generation_before_is_not_overwritten(tmp_path):
    path = tmp_path / "m"
    write_model(path, make())
    previous_path(path).write_bytes(b"something else")
    with pytest.raises(ModelFileError, match="will not overwrite") as caught:
        write_model(path, make("no"))
    assert "move it elsewhere" in caught.value.hint
    with pytest.raises(ModelFileError, match="not an edgelearn model"):
        undo_model(path)
    assert previous_path(path).read_bytes() == b"something else"
    assert same(read_model(path), make())


@pytest.mark.parametrize("name", ["missing", "no/such/folder/m", "nul\0byte", "x" * 300])
def test_a_path_that_is_not_there(tmp_path, name):
    for action in (read_model, undo_model):
        with pytest.raises(ModelFileError):
            action(f"{tmp_path}/{name}")


def test_folders_devices_and_giants_are_refused(tmp_path):
    giant = tmp_path / "giant"
    with giant.open("wb") as file:
        file.truncate(encoding.MAX_FILE_BYTES + 1)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, message in (
        (tmp_path, "not a file"),
        (fifo, "not a file"),
        ("/dev/zero", "not a file"),
        (giant, "large"),
    ):
        with pytest.raises(ModelFileError, match=message):
            read_model(path)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ModelFile({}, {"../evil": np.zeros(1)}), "not a name"),
        (ModelFile({}, {"a": np.array(["x"])}), "cannot hold"),
        (ModelFile({"score": float("nan")}, {}), "JSON"),
        (ModelFile({}, {"a": np.zeros(encoding.MAX_FILE_BYTES, np.int8)}), "over the limit"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_when_it_is_written(tmp_path, model, message):
    with pytest.raises(ValueError, match=message):
        write_model(tmp_path / "m", model)
    assert not (tmp_path / "m").exists()


def test_undo_swaps_with_the_generation_before(tmp_path):
    path = tmp_path / "m"
    write_model(path, make("one"))
    with pytest.raises(ModelFileError, match="no generation before"):
        undo_model(path)
    write_model(path, make("two"))
    write_model(path, make("three"))
    undo_model(path)
    assert same(read_model(path), make("two"))
    undo_model(path)
    assert same(read_model(path), make("three"))
    undo_model(path)
    write_model(path, make("four"))
    assert read_model(path).manifest["generation"] == 4, "no number stands for two contents"
    undo_model(path)
    assert same(read_model(path), make("two"))


def test_undo_mends_a_damaged_and_a_lost_model(tmp_path):
    path = tmp_path / "m"
    write_model(path, make("one"))
    write_model(path, make("two"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelFileError, match="truncated") as caught:
        read_model(path)
    assert "undo" in caught.value.hint
    undo_model(path)
    assert same(read_model(path), make("one"))
    assert (tmp_path / "m.aside").stat().st_size == 100
    with pytest.raises(ModelFileError, match="already"):
        undo_model(path)
    path.write_bytes(b"damaged again")
    with pytest.raises(ModelFileError, match="in the way"):
        undo_model(path)
    path.unlink()
    with pytest.raises(ModelFileError, match="no model file") as caught:
        read_model(path)
    assert "undo" in caught.value.hint
    undo_model(path)
    assert same(read_model(path), make("one"))


class PowerCut(BaseException):
    """Nothing after this happens, and nothing cleans up."""


def interrupt(monkeypatch, error, step, torn, more=()):
    """Raise at the step-th system call that writes; count how many there are."""
    calls = []
    for module, name in ((os, "open"), (os, "fsync"), (os, "replace"), *more):
        real = getattr(module, name)

        def call(*args, real=real, name=name, **kwargs):
            calls.append(name)
            if len(calls) == step:
                if torn and real is os_replace:
                    real(*args, **kwargs)
                raise error
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, call)
    return calls


os_replace = os.replace


def two_generations(folder, before, present):
    folder.mkdir()
    write_model(folder / "m", make(before))
    write_model(folder / "m", make(present))
    return folder / "m"


@pytest.mark.parametrize("action", ["write", "undo"])
@pytest.mark.parametrize("torn", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", [PowerCut(), OSError(28, "No space left on device")], ids=["power", "disk"])
def test_an_interruption_at_any_step_leaves_the_old_or_the_new_model(tmp_path, monkeypatch, action, torn, error):
    monkeypatch.setattr(os, "fsync", lambda _handle: None)  # only that it is called matters here, not the wait
    seen = set()
    for step in range(1, 30):
        path = two_generations(tmp_path / str(step), "older", "old")
        with pytest.MonkeyPatch.context() as patch:
            calls = interrupt(patch, error, step, torn)
            try:
                write_model(path, make("new")) if action == "write" else undo_model(path)
            except (PowerCut, ModelFileError):
                finished = False
            else:
                finished = True
        expected = "new" if action == "write" else "older"
        word = read_model(path).manifest["words"][0]
        assert word in ("old", expected)
        if action == "write":
            read_model(previous_path(path))
        seen.add(word)
        if finished:
            assert len(calls) < step
            assert word == expected
            break
        write_model(path, make("after"))
        assert same(read_model(path), make("after")), "a failed write leaves nothing in the way"
    else:
        pytest.fail("never ran to its end")
    assert seen == {"old", expected}


def no_links(*_args):
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False], ids=["links", "fat"])
@pytest.mark.parametrize("torn", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", [PowerCut(), OSError(28, "No space left on device")], ids=["power", "disk"])
def test_an_undo_that_is_interrupted_at_any_step_loses_neither_model(tmp_path, monkeypatch, links, torn, error):
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    for step in range(1, 30):
        path = two_generations(tmp_path / str(step), "older", "newest")
        with pytest.MonkeyPatch.context() as patch:
            calls = interrupt(patch, error, step, torn, [(os, "link")] if links else [])
            with suppress(PowerCut, ModelFileError):
                undo_model(path)
        present = read_model(path).manifest["words"][0]
        undo_model(path)
        now, before = (read_model(place).manifest["words"][0] for place in (path, previous_path(path)))
        assert (now, before) == (("older", "newest") if present == "newest" else ("newest", "older"))
        assert sorted(os.listdir(path.parent)) == [".m.lock", "m", "m.prev"]
        if len(calls) < step:
            break
    else:
        pytest.fail("never ran to its end")


def test_what_an_undo_that_was_interrupted_left_is_the_generation_before_a_write(tmp_path, monkeypatch):
    path = tmp_path / "m"
    write_model(path, make("older"))
    write_model(path, make("newest"))
    real = os.replace

    def cut(source, target):
        real(source, target)
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", cut)
        with pytest.raises(PowerCut):
            undo_model(path)
    assert not previous_path(path).exists()
    assert write_model(path, make("next")) == 3, "no number stands for two contents"
    undo_model(path)
    assert same(read_model(path), make("older"))


def test_an_undo_needs_no_room_on_the_disk(tmp_path, monkeypatch):
    path = tmp_path / "m"
    write_model(path, make("older"))
    write_model(path, make("newest"))

    def full(*_args):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(model_file, "replace_file", full)
    undo_model(path)
    assert same(read_model(path), make("older"))
    assert same(read_model(previous_path(path)), make("newest"))


def test_leftovers_of_a_power_cut_are_harmless(tmp_path):
    path = tmp_path / "m"
    write_model(path, make())
    (tmp_path / ".m.new").write_bytes(b"half a model")
    write_model(path, make("two"))
    assert same(read_model(path), make("two"))
    assert not (tmp_path / ".m.new").exists()


@pytest.mark.parametrize(
    ("code", "hint"),
    [(13, "writable"), (30, "read-only"), (2, "make the folder"), (28, "room"), (5, "untouched")],
)
def test_what_the_system_refuses_is_one_clear_error(tmp_path, monkeypatch, code, hint):
    path = tmp_path / "m"
    write_model(path, make())

    def refuse(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ModelFileError, match=os.strerror(code)) as caught:
        write_model(path, make("two"))
    assert hint in caught.value.hint
    monkeypatch.undo()
    assert same(read_model(path), make())


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_can_be_read_but_not_written(tmp_path):
    path = tmp_path / "m"
    write_model(path, make())
    tmp_path.chmod(0o555)
    try:
        assert same(read_model(path), make())
        with pytest.raises(ModelFileError, match="Permission denied"):
            write_model(path, make("two"))
    finally:
        tmp_path.chmod(0o755)


def test_a_link_is_followed_and_the_mode_is_kept(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    write_model(real, make())
    real.chmod(0o600)
    link.symlink_to(real)
    write_model(link, make("two"))
    assert link.is_symlink()
    assert same(read_model(real), make("two"))
    assert real.stat().st_mode & 0o777 == previous_path(real).stat().st_mode & 0o777 == 0o600


def test_two_processes_do_not_write_at_once(tmp_path, monkeypatch):
    path = tmp_path / "m"
    script = textwrap.dedent(
        """
        import fcntl, os, sys
        handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
        fcntl.flock(handle, fcntl.LOCK_EX)
        print("locked", flush=True)
        sys.stdin.read()
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / ".m.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout.readline() == b"locked\n"
        monkeypatch.setattr(model_file, "LOCK_TIMEOUT_S", 0.1)
        with pytest.raises(ModelFileError, match="another program is writing"):
            write_model(path, make())
        assert not path.exists()
        other.stdin.close()
    write_model(path, make())
    assert same(read_model(path), make())


def test_a_model_replaces_only_the_generation_it_was_made_from(tmp_path):
    path = tmp_path / "model.npz"
    with pytest.raises(ModelFileError, match="changed by another program"):
        write_model(path, make("a"), replaces=1)
    assert not path.exists()
    assert write_model(path, make("a"), replaces=0) == 1
    assert write_model(path, make("b"), replaces=1) == 2
    before = path.read_bytes(), previous_path(path).read_bytes()
    for stale in (0, 1, 3):
        with pytest.raises(ModelFileError, match="changed by another program"):
            write_model(path, make("c"), replaces=stale)
    assert (path.read_bytes(), previous_path(path).read_bytes()) == before
    undo_model(path)
    with pytest.raises(ModelFileError, match="changed by another program"):
        write_model(path, make("c"), replaces=2)
    assert write_model(path, make("c"), replaces=1) == 3
    assert write_model(path, make("d")) == 4
