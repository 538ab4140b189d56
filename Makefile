# make try    install into .venv and run a first container, from the machine's own root file system
# make test   install what the tests need (Debian packages too, as root) and run them all but the slow ones
# make help   the rest

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
PACKAGES := docker.io systemd runc crun busybox-static mmdebstrap nftables iproute2 procps util-linux strace curl git docker-registry apache2-utils skopeo openssl podman buildah umoci xfsprogs btrfs-progs e2fsprogs
PACKAGES_V2 := qemu-system-x86
ARGS ?=

.PHONY: help try test test-slow test-v2 bench lint packages

help:
	@echo "make try         a first container"
	@echo "make test        lint, unit, contract, kernel, api, cli and acceptance tests; ARGS='-k word' narrows them"
	@echo "make test-slow   the tests that take minutes"
	@echo "make test-v2     the kernel tests in a throwaway machine with cgroup v2 (qemu)"
	@echo "make bench       side by side with dockerd and podman; ARGS='--rounds 5 run exec' narrows it"
	@echo "make lint        ruff, mypy, import-linter and what else style asks for"

try: $(VENV)/.installed
	$(BIN)/tiffin run --rm host echo "Hello from a container. It took Python."

test: $(VENV)/.installed-for-tests packages
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: $(VENV)/.installed-for-tests packages
	$(PYTEST) -m slow --timeout 3600 $(ARGS)

test-v2: $(VENV)/.installed-for-tests packages
	tests/rig/packages $(PACKAGES_V2)
	$(BIN)/python tests/rig/vm/run.py $(ARGS)

bench: $(VENV)/.installed-for-tests packages
	-$(BIN)/python bench/run.py $(ARGS)

lint: $(VENV)/.installed-for-tests
	$(PYTEST) tests/lint $(ARGS)

packages:
	tests/rig/packages $(PACKAGES)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-for-tests: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ $(VENV)/.installed

# Debian's python3 comes without ensurepip: python3-venv has it
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { tests/rig/packages python3-venv && $(PYTHON) -m venv --clear $(VENV); }
