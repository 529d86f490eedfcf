# make demo        the whole loop on recordings that ship with the project; needs no microphone
# make test        the quick tests; make test-slow those that take minutes
# make firmware-test  the C firmware, here and on Cortex-M under QEMU; installs compilers and QEMU where it may
# make test-arm64  the tests as on a 64-bit Raspberry Pi, under QEMU; needs root on Debian, and an hour or more
# make lint        ruff and mypy
# make docs        write docs/cli.md and the memory map of ARCHITECTURE.md anew from the code
# EXTRAS=dev,...   what to install beside edgelearn itself (see pyproject.toml)
# PYTHON=python3.x which Python to build .venv with

EXTRAS ?= dev
PYTHON ?=
BIN := .venv/bin

.PHONY: demo test test-slow firmware-test test-arm64 lint docs setup clean

demo: setup
	$(BIN)/edgelearn demo

test: setup
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m slow

firmware-test: setup
	@scripts/firmware_tools.sh
	$(BIN)/python -m pytest -m "slow or not slow" tests/firmware_sim/firmware tests/firmware_sim/test_journal.py

test-arm64:
	scripts/arm64_test.sh

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/python docs/generate.py

setup:
	@PYTHON="$(PYTHON)" scripts/setup.sh "$(EXTRAS)"

clean:
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache
