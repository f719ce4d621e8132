# `make help` lists what there is. Everything runs in a Python environment outside the work tree (packaging/environment.py).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
DIR ?= /opt/cni/bin
# Calls wait for the kernel as long as they compute: twice as many workers as cores keep two cores busy.
WORKERS ?= 4
RUN := $(PYTHON) packaging/environment.py
PREFLIGHT := $(PYTHON) packaging/preflight.py
PYTEST := $(RUN) -m pytest
PARALLEL := --numprocesses=$(WORKERS) --dist=worksteal
# Tests that have a target of their own are left out elsewhere: make test is to be quick enough for every change.
KERNEL := tests/netns/plugins tests/netns/kernel tests/netns/ipam tests/netns/legacy tests/netns/cli tests/netns/multus_lite
CALLING := $(addprefix tests/netns/,plugins multus_lite legacy cli vxlan overlay/test_plugin.py)
FAULTS := tests/netns/faults $(wildcard tests/netns/*/test_faults.py tests/netns/*/*/test_faults.py)
OVERLAY_E2E := $(wildcard tests/e2e/test_overlay*.py)
OTHERWISE := $(FAULTS:%=--ignore=%)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: python
python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11, which this project needs: name a newer one, as in make PYTHON=python3.12" >&2; exit 1; }

.PHONY: build
build: python ## build dist/bin: one executable per plugin name
	@$(PREFLIGHT) build
	@$(RUN) packaging/builder.py

.PHONY: install
install: build ## install into DIR (default /opt/cni/bin), also under running plugins; UNITS=/etc/systemd/system for the agent
	@$(PYTHON) packaging/installer.py install dist/bin $(DIR) $(UNITS)

.PHONY: uninstall
uninstall: python ## remove from DIR and put back what `make install` replaced
	@$(PYTHON) packaging/installer.py uninstall $(DIR) $(UNITS)

.PHONY: demo
demo: python ## show containers networked by the plugins, in namespaces of its own
	@$(PREFLIGHT) demo
	@$(MAKE) --no-print-directory build peers
	@$(RUN) -m demo

.PHONY: demo-overlay
demo-overlay: python ## show nodes joined by two overlays, and a broken peer repaired
	@$(PREFLIGHT) test
	@$(MAKE) --no-print-directory build peers
	@$(RUN) -m demo.overlay

.PHONY: demo-multinet
demo-multinet: python ## show pods with two networks, Flannel's and a second overlay (first run: 10 minutes more)
	@$(PREFLIGHT) cluster
	@$(MAKE) --no-print-directory build
	@$(RUN) -m tests.lab.peers cni flannel kubernetes
	@$(RUN) -m demo.multinet

.PHONY: test
test: python ## prove the plugins: style, types, unit, kernel and end-to-end tests
	@$(PREFLIGHT) test
	@$(MAKE) --no-print-directory build lint peers
	@$(PYTEST) $(PARALLEL) tests/unit $(KERNEL) tests/e2e tests/reference_suites $(OTHERWISE) \
	  $(addprefix --ignore=,tests/e2e/test_flannel.py $(OVERLAY_E2E))

.PHONY: test-conformance
test-conformance: python ## judge a good plugin and a mutant of it by every case of the conformance suite
	@$(PREFLIGHT) test
	@$(MAKE) --no-print-directory build peers
	@$(PYTEST) tests/conformance

.PHONY: test-faults
test-faults: python ## make every operation on the machine fail in turn, and an agent die after each
	@$(PREFLIGHT) test
	@$(MAKE) --no-print-directory build peers
	@$(PYTEST) $(PARALLEL) $(FAULTS) tests/netns/agent

.PHONY: test-agent
test-agent: python ## run the kernel tests of the plugins once more, with every call going through an agent
	@$(PREFLIGHT) test
	@$(MAKE) --no-print-directory build peers
	@CNI_TEST_AGENT=1 $(PYTEST) $(PARALLEL) $(CALLING) $(OTHERWISE)

.PHONY: test-overlay
test-overlay: python ## join nodes by overlays: ours, flanneld's, and both, with leases in etcd
	@$(PREFLIGHT) test
	@$(MAKE) --no-print-directory build peers
	@$(PYTEST) $(PARALLEL) tests/netns/vxlan tests/netns/leases tests/netns/overlay tests/e2e/test_flannel.py $(OVERLAY_E2E) $(OTHERWISE)

.PHONY: lint
lint: python ## check style, types, layers, and that generated documents are fresh
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@$(RUN) -c 'from importlinter.cli import lint_imports_command as main; main()' --no-logo
	@$(RUN) -m cni_plugins.model.export --check

.PHONY: format
format: python ## format the code and sort its imports
	@$(RUN) -m ruff check --fix-only .
	@$(RUN) -m ruff format .

.PHONY: peers
peers: python ## build the reference plugins, cnitool, flannel and multus, which tests and demo run
	@$(RUN) -m tests.lab.peers cni flannel multus

.PHONY: test-cluster
test-cluster: python ## network pods in a real two-node Kubernetes cluster (first run: 10 minutes more)
	@$(PREFLIGHT) cluster
	@$(MAKE) --no-print-directory build
	@$(RUN) -m tests.lab.peers cni flannel kubernetes multus
	@$(PYTEST) tests/lab/test_cluster.py tests/lab/test_cluster_networks.py tests/lab/test_deploy.py tests/lab/test_watching.py tests/lab/test_hot_change.py tests/lab/test_demo_multinet.py tests/lab/leases

.PHONY: test-vm
test-vm: python ## test what needs another kernel, in an emulated machine
	@$(PREFLIGHT) vm
	@$(MAKE) --no-print-directory build peers
	@$(PYTEST) -s tests/lab/test_vm.py

.PHONY: conformance-reports
conformance-reports: python ## judge the reference plugins, multus, flannel and ours, and write docs/conformance (long)
	@$(PREFLIGHT) test
	@$(MAKE) --no-print-directory build
	@$(RUN) -m tests.lab.conformance_reports

.PHONY: bench
bench: python ## measure calls against the reference plugins (see benchmarks/README.md)
	@$(PREFLIGHT) test
	@$(MAKE) --no-print-directory build peers
	@$(RUN) -m benchmarks

.PHONY: bench-overlay
bench-overlay: python ## measure an overlay beside flanneld's, between the same two nodes
	@$(PREFLIGHT) test
	@$(MAKE) --no-print-directory build peers
	@$(RUN) -m benchmarks.overlay

.PHONY: bench-multinet
bench-multinet: python ## measure pods with several networks beside Multus, with a real API server (first run: 10 minutes more)
	@$(PREFLIGHT) cluster
	@$(MAKE) --no-print-directory build
	@$(RUN) -m tests.lab.peers cni kubernetes multus
	@$(RUN) -m benchmarks.multinet

KILLS ?= 6000
CALLS ?= 100000
.PHONY: soak
soak: python ## kill calls thousands of times, send an agent 100,000, and look for what is left behind (long)
	@$(PREFLIGHT) test
	@$(MAKE) --no-print-directory build peers
	@CNI_TEST_KILLS=$(KILLS) $(PYTEST) $(PARALLEL) tests/e2e/test_killed.py
	@CNI_TEST_CALLS=$(CALLS) $(PYTEST) -s tests/e2e/test_agent_soak.py
	@CNI_TEST_STRIDE=1 $(PYTEST) $(PARALLEL) $(FAULTS) tests/netns/agent

.PHONY: docs
docs: python ## write docs/schemas and the key tables of docs/plugins from the models
	@$(RUN) -m cni_plugins.model.export --write
	@$(RUN) -m conformance.profile > docs/conformance/profile.schema.json

.PHONY: lock
lock: python ## pin the dependencies of pyproject.toml, with hashes, in requirements/locked.txt
	@$(PYTHON) packaging/lock.py

.PHONY: clean
clean: ## remove what is built in the work tree
	@rm -rf build dist cni_plugins/model/_frozen .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
