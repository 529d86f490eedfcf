"""The control socket of a running session: a line of JSON in, lines of JSON out, for programs of the same user.

The session polls it between two blocks of sound and never waits for anybody: a client that hangs, floods or talks
nonsense is let go.  One session for a model: it holds a lock, which the system takes back however it ends, so that a
socket without the lock's holder is a leftover and is replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import select
import socket
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgelearn.errors import EdgelearnError, UsageError

MOST_CLIENTS = 8
MOST_REQUEST_BYTES = 256 * 1024
MOST_UNREAD_BYTES = 256 * 1024  # what a client may leave unread before it is let go
PATIENCE_S = 5.0  # for a whole request, after a client has come, and for reading what it was told at the end
LESSONS = ("add", "teach", "confirm", "reject")  # what a client is kept for; anything else is done before the next poll
SERVICE_FOLDER = Path("/run/edgelearn")  # systemd's RUNTIME_DIRECTORY of the installed service
MOST_PATH_BYTES = 100  # of a socket's address; longer ones go through the folder's descriptor


def server_folders(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the folders that a session may keep its socket in, the best one first."""
    folders = [Path(environ["RUNTIME_DIRECTORY"].split(":")[0])] if environ.get("RUNTIME_DIRECTORY") else []
    # where no login has named it, as for cron, it is still there
    own = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}")
    if environ.get("XDG_RUNTIME_DIR") or own.is_dir():
        folders.append(own / "edgelearn")
    return [*folders, Path(tempfile.gettempdir()) / f"edgelearn-{os.geteuid()}"]


def client_folders(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the folders that a session's socket may be in: those of this user, and that of the service."""
    return list(dict.fromkeys([*server_folders(environ), SERVICE_FOLDER]))


def socket_name(model: Path) -> str:
    """Return the name of the socket for a model file."""
    return hashlib.sha256(os.fsencode(os.path.realpath(model))).hexdigest()[:16] + ".sock"


class Client:
    """Somebody who is connected to a session; `send` never waits."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._received = b""
        self._unsent = b""
        self._asked = False
        self._lesson = False
        self._since = time.monotonic()
        self._ending = False
        self.gone = False

    def send(self, event: str, **fields: Any) -> None:
        """Tell the client something, as one line of JSON."""
        if not self.gone:
            self._unsent += json.dumps({"event": event} | fields).encode() + b"\n"
            self.flush()

    def end(self) -> None:
        """Let the client go, after all that it was told has been sent, or it did not read that for so long."""
        if not self._ending:
            self._ending, self._since = True, time.monotonic()
        self.flush()

    def flush(self) -> None:
        """Send what the client takes now."""
        while self._unsent and not self.gone:
            try:
                self._unsent = self._unsent[self._connection.send(self._unsent) :]
            except BlockingIOError:
                break
            except OSError:
                self.drop()
        if len(self._unsent) > MOST_UNREAD_BYTES or (self._ending and not self._unsent):
            self.drop()

    def drop(self) -> None:
        """Let the client go at once."""
        self.gone = True
        self._connection.close()

    def requests(self) -> Iterator[dict[str, Any]]:
        """Return the requests that have come; whoever sends something else is told so and let go.

        So is whoever has asked before, which has been done by now, and has no lesson that it waits for.
        """
        self.flush()
        if self._asked and not self._lesson:
            self.end()
        if self._ending and time.monotonic() - self._since > PATIENCE_S:
            self.drop()
        while not (self.gone or self._ending):
            try:
                data = self._connection.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.drop()
                return
            self._received += data
            if len(self._received) > MOST_REQUEST_BYTES:
                self._refuse("a request is too long")
                return
        *lines, self._received = self._received.split(b"\n")
        for line in lines:
            try:
                request = json.loads(line)
            except (ValueError, RecursionError):
                request = None
            if not isinstance(request, dict) or not isinstance(request.get("do"), str):
                self._refuse("this is no request: one JSON object a line is, with `do`")
                return
            self._asked = True
            # a lesson that is refused or over ends its client; one that is given up does not
            self._lesson = request["do"] in LESSONS or (self._lesson and request["do"] != "cancel")
            yield request
        if not (self._asked or self._ending) and time.monotonic() - self._since > PATIENCE_S:
            self._refuse(f"no request came within {PATIENCE_S:g} s")

    def _refuse(self, message: str) -> None:
        self.send("error", message=message, hint="", exit_code=UsageError.exit_code)
        self.end()


class ControlServer:
    """The socket of the session that listens with a model; `poll` it between two blocks of sound.

    Raises UsageError if there is such a session already, OSError if no folder will do.
    """

    def __init__(self, model: Path, environ: Mapping[str, str] = os.environ) -> None:
        self._clients: list[Client] = []
        if (other := connect(model, environ)) is not None:
            other.close()
            raise _taken()
        for folder in server_folders(environ):
            try:
                _make_private(folder)
                self.path = folder / socket_name(model)
                self._lock = _hold(self.path.with_suffix(".lock"))
                break
            except OSError as error:
                problem = error
        else:
            raise problem
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.path.unlink(missing_ok=True)  # of a session that was killed: its lock is ours now
            os.fchmod(self._listener.fileno(), 0o600)  # from its first moment on, whatever the umask is
            with _address(self.path) as address:
                self._listener.bind(address)
            self.path.chmod(0o600)
            self._listener.listen(MOST_CLIENTS)
            self._listener.setblocking(False)
        except OSError:
            self._listener.close()
            os.close(self._lock)
            raise

    def poll(self) -> list[tuple[Client, dict[str, Any]]]:
        """Return what has been asked since, and by whom."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while len(self._clients) < MOST_CLIENTS:
                self._clients.append(Client(self._listener.accept()[0]))
        asked = [(client, request) for client in self._clients for request in client.requests()]
        self._clients = [client for client in self._clients if not client.gone]
        return asked

    def close(self) -> None:
        """Let everybody go and take the socket away."""
        for client in self._clients:
            client.drop()
        self._listener.close()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
            self.path.with_suffix(".lock").unlink(missing_ok=True)
        os.close(self._lock)


class Connection:
    """A client's side: `ask`, then `replies`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def ask(self, do: str, **fields: Any) -> None:
        """Send a request."""
        with contextlib.suppress(BrokenPipeError):  # the session has ended, as `replies` will tell
            self._connection.sendall(json.dumps({"do": do} | fields).encode() + b"\n")

    def replies(self, patience_s: float, also: int | None = None) -> Iterator[dict[str, Any] | None]:
        """Return what the session tells until it lets go, None whenever the descriptor `also` has something to read.

        Raises EdgelearnError if nothing comes for so long.
        """
        received = b""
        while True:
            watched: list[socket.socket | int] = [self._connection, *([] if also is None else [also])]
            ready = select.select(watched, [], [], patience_s)[0]
            if not ready:
                raise EdgelearnError(
                    "the session that listens with this model does not answer",
                    "it waits for sound, or it hangs: end it and do this again",
                )
            if also in ready:
                yield None
            if self._connection not in ready:
                continue
            try:
                data = self._connection.recv(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                return
            *lines, received = (received + data).split(b"\n")
            yield from (json.loads(line) for line in lines)

    def close(self) -> None:
        """Go; what was asked for and is not done is given up."""
        self._connection.close()


def connect(model: Path, environ: Mapping[str, str] = os.environ) -> Connection | None:
    """Return a connection to the session that listens with a model, None if there is none.

    Raises UsageError if it belongs to another user.
    """
    for folder in client_folders(environ):
        place = folder / socket_name(model)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(PATIENCE_S)
        try:
            with _address(place) as address:
                connection.connect(address)
            return Connection(connection)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            connection.close()
        except OSError as error:
            connection.close()
            if isinstance(error, PermissionError) and folder != SERVICE_FOLDER:
                continue
            raise UsageError(
                f"a session listens with this model and cannot be told ({place}: {error.strerror or 'it hangs'})",
                "do it as the user of that session: for the service, with `sudo`",
            ) from None
    return None


def _taken() -> UsageError:
    return UsageError(
        "another `edgelearn listen` is already listening with this model",
        "end it first, or give this one a model of its own with --model",
    )


def _make_private(folder: Path) -> None:
    """Make a folder that only this user can change; raises OSError for one that others can."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o022:
        raise PermissionError(f"{folder} is not a folder of this user alone")


def _hold(place: Path) -> int:
    """Return the descriptor of a lock that is ours; raises UsageError if it is another session's."""
    while True:
        handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise _taken() from None
        if os.fstat(handle).st_nlink:
            return handle
        os.close(handle)  # a session that has just ended took the file away after it was opened here


@contextlib.contextmanager
def _address(place: Path) -> Iterator[str]:
    """Return what a socket at `place` is called, which may be longer than an address."""
    if len(os.fsencode(place)) <= MOST_PATH_BYTES:
        yield str(place)
        return
    folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{place.name}"
    finally:
        os.close(folder)
