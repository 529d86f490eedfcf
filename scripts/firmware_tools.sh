#!/bin/sh
# Installs what the tests of the firmware need, where that is allowed; else they are skipped and say what is missing.
set -eu
for tool in gcc arm-none-eabi-gcc qemu-system-arm; do
    command -v "$tool" > /dev/null || missing=yes
done
[ -n "${missing:-}" ] || exit 0
line="apt-get install -y --no-install-recommends gcc libc6-dev gcc-arm-none-eabi qemu-system-arm"
if [ "$(id -u)" = 0 ]; then
    $line || echo "cannot install: the tests of the cores are skipped" >&2
elif command -v sudo > /dev/null && sudo -n true 2> /dev/null; then
    sudo $line || echo "cannot install: the tests of the cores are skipped" >&2
else
    echo "missing for the firmware:  sudo $line" >&2
fi
