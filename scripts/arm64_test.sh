#!/bin/sh
# arm64_test.sh [FOLDER]: the quick tests as on a 64-bit Raspberry Pi. Debian 12 for arm64 goes into FOLDER (build/arm64), its
# programs run under QEMU as those of the core of a Raspberry Pi 4; then the integers of the device, there and here.
# Needs root on Debian 12 or later, a network, 2 GB of disk, and patience. A second call uses the same FOLDER.
set -eu
cd "$(dirname "$0")/.."

root=$(realpath -m "${1:-build/arm64}")
extras=${EXTRAS:-dev,live,gpio}
core=${QEMU_CPU:-cortex-a72}
packages=ca-certificates,gcc,libasound2-dev,libc6-dev,libportaudio2,make,mosquitto,openssl,python3-venv,systemd

say() { printf 'arm64: %s\n' "$*" >&2; }
stop() { say "$*"; exit 1; }

make_root() {
    say "installing Debian for arm64 in $root, some minutes"
    mmdebstrap --quiet --variant=minbase --architectures=arm64 --include="$packages" bookworm "$root"
    chroot "$root" useradd --create-home pi
    mkdir "$root/home/pi/edgelearn"
    # what this machine needs to be on line, the other needs as well
    for file in /etc/resolv.conf /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
        [ ! -f "$file" ] || cp -L "$file" "$root$file"
    done
}

copy_sources() {
    # .venv stays: it is that of the other machine
    find "$root/home/pi/edgelearn" -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} +
    tar -c --exclude=./.venv --exclude=./.git --exclude='./.*_cache' --exclude=./build --exclude=__pycache__ . |
        tar -x --no-same-owner -C "$root/home/pi/edgelearn"
    chroot "$root" sh -c 'chown -R pi:pi ~pi'
}

# As a user without rights, in namespaces that end with what runs in them, and its mounts with them.
in_root() {
    # shellcheck disable=SC2016 (for the inner shell)
    unshare --mount --pid --fork --kill-child sh -euc '
        root=$1; core=$2; shift 2
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        for folder in dev/shm tmp; do mount -t tmpfs -o mode=1777 tmpfs "$root/$folder"; done
        mkdir -p "$root/run/systemd" # as after a boot: systemd-analyze cannot make it for a user without rights
        exec chroot --userspec=pi:pi "$root" env -i USER=pi LANG=C.UTF-8 PATH=/usr/bin:/bin \
            QEMU_CPU="$core" sh -euc "export HOME=~pi; cd ~/edgelearn; $*"
    ' sh "$root" "$core" "$@"
}

[ "$(id -u)" = 0 ] || stop "needs root, to install another Debian in a folder:  sudo make test-arm64"
[ -x .venv/bin/python ] || stop "the integers there are compared with those here:  make setup  first, as yourself"
for tool in mmdebstrap arch-test qemu-aarch64-static; do
    command -v "$tool" >/dev/null || missing=yes
done
[ -z "${missing:-}" ] ||
    apt-get install -y --no-install-recommends arch-test binfmt-support debian-archive-keyring mmdebstrap qemu-user-static
[ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
[ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] || update-binfmts --enable qemu-aarch64

[ -d "$root/home/pi/edgelearn" ] || make_root
copy_sources
failed=
in_root make test "EXTRAS=$extras" || failed="the tests failed;"
in_root .venv/bin/python -m benchmarks.integers >"$root/integers.arm64"
.venv/bin/python -m benchmarks.integers >"$root/integers.here"
diff "$root/integers.here" "$root/integers.arm64" >&2 || failed="$failed the integers differ"
[ -z "$failed" ] || stop "$failed"
cat "$root/integers.arm64"
say "all passed, and the same integers as here"
