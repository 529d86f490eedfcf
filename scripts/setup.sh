#!/bin/sh
# setup.sh EXTRAS: build .venv with edgelearn[EXTRAS] in it, and PortAudio for the microphone where this user may install it.
# A second call with nothing new to install returns at once.
set -eu
cd "$(dirname "$0")/.."

extras=${1:-dev}
stamp=.venv/.edgelearn-extras
oldest=11
newest=14

say() { printf 'setup: %s\n' "$*" >&2; }
stop() { say "$*"; exit 1; }

is_done() {
    [ -f "$stamp" ] && is_usable_venv || return 1
    [ -z "$(find pyproject.toml scripts/setup.sh -newer "$stamp")" ] || return 1
    for extra in $(echo "$extras" | tr ',' ' '); do
        grep -qx "$extra" "$stamp" || return 1
    done
}

is_usable_venv() {
    is_right_python .venv/bin/python || return 1
    # in a folder that was moved, the programs of .venv still start the Python of the old place
    [ ! -f "$stamp" ] || [ "$(sed -n 1p "$stamp")" = "$PWD" ]
}

# True if $1 runs (a name on PATH may be a shim that does not) and is a version that edgelearn knows.
is_right_python() {
    "$1" -c "import sys; sys.exit(not (3, $oldest) <= sys.version_info < (3, $newest + 1))" 2>/dev/null
}

find_python() {
    for python in ${PYTHON:-python3 python3.13 python3.12 python3.14 python3.11 /usr/bin/python3}; do
        if is_right_python "$python"; then
            echo "$python"
            return
        fi
    done
}

install_portaudio() {
    .venv/bin/python -c 'import sounddevice' 2>/dev/null && return
    if ! command -v apt-get >/dev/null; then
        say "the microphone needs PortAudio, which is not here: install it with this system's package manager"
    elif [ "$(id -u)" = 0 ]; then
        run_apt ""
    elif sudo -n true 2>/dev/null; then
        run_apt "sudo -n"
    else
        say "the microphone needs PortAudio (all else works without it); type:  sudo apt install libportaudio2"
    fi
}

run_apt() {
    say "installing libportaudio2, for the microphone"
    apt="$1 env DEBIAN_FRONTEND=noninteractive apt-get"
    # a fresh system has no package lists, an old one has lists of packages that are gone
    $apt install -y -qq libportaudio2 >/dev/null 2>&1 ||
        { $apt update -qq && $apt install -y -qq libportaudio2; } >/dev/null 2>&1 ||
        say "could not install it; only the microphone is missing. To try again, type:  sudo apt install libportaudio2"
}

is_done && exit 0

bits=$(getconf LONG_BIT 2>/dev/null || echo 64)
[ "$bits" = 64 ] || stop "edgelearn needs a 64-bit system (numba has no 32-bit build) and this one is $bits-bit:" \
    "on a Raspberry Pi, install the 64-bit Raspberry Pi OS"

python=$(find_python)
if [ -z "$python" ]; then
    found=$("${PYTHON:-python3}" --version 2>&1) || found="no Python 3"
    stop "edgelearn needs Python 3.$oldest to 3.$newest and found $found:" \
        "install one of those and name it, as in  make test PYTHON=python3.12"
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    stop "$python cannot build a virtual environment, type:  sudo apt install python$version-venv"
fi

if ! is_usable_venv; then
    say "building .venv with $("$python" --version 2>&1)"
    "$python" -m venv --clear .venv || stop "$python -m venv failed, see above"
fi

# what an earlier call installed is brought up to date with it
[ ! -f "$stamp" ] || extras=$( { sed 1d "$stamp"; echo "$extras" | tr ',' '\n'; } | sort -u | paste -s -d , -)
say "installing edgelearn[$extras], some minutes the first time"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extras]" ||
    stop "pip could not install edgelearn[$extras], see above; is this machine on line?"

install_portaudio

{ echo "$PWD"; echo "$extras" | tr ',' '\n'; } >"$stamp.new"
mv "$stamp.new" "$stamp"
