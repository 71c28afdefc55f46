# Every target works on a fresh Debian machine: it installs what it needs first, and that takes no time once it is there.
# One profile for everything, because RocksDB's C++ is compiled once per profile; a target directory outside the checkout,
# so that it is compiled once per machine.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/headrace/target
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

# The same packages in each call, so that no dependency is built twice with other features.
CARGO := cargo
FLAGS := --release --locked --workspace
BIN := $(CARGO_TARGET_DIR)/release

TOPOLOGY ?= cdc-invalidation
TOPOLOGIES := $(notdir $(patsubst %/Cargo.toml,%,$(wildcard topologies/*/Cargo.toml)))

.PHONY: help
help: ## these lines
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## install packages, toolchain and jars that are missing
	@scripts/setup
	@$(CARGO) build --quiet $(FLAGS) --bin testbed
	@$(BIN)/testbed fetch

.PHONY: demo
demo: topology setup ## a shop under load, a kill -9, each row compared; or TOPOLOGY=task-queue: each task with its result; or TOPOLOGY=write-ahead-log: each mutation with what its targets did [DEMO_SECONDS=60 DEMO_RATE=]
	@$(CARGO) build $(FLAGS) --bin demo --bin $(TOPOLOGY)
	@$(BIN)/demo --topology $(TOPOLOGY) $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS)) $(if $(DEMO_RATE),--rate $(DEMO_RATE))

.PHONY: up
up: topology setup ## the demo's parts and the topology, without load, until Ctrl-C
	@$(CARGO) build $(FLAGS) --bin demo --bin $(TOPOLOGY)
	@$(BIN)/demo --topology $(TOPOLOGY) up

.PHONY: check
check: setup ## format, clippy and documentation; warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(FLAGS) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(FLAGS) --no-deps --quiet

# The binaries first: the e2e tests run them. The commit cycle is tested on both producers. cargo's own summary is the last
# thing printed.
.PHONY: test
test: check ## check, then all tests on the real parts
	$(CARGO) build $(FLAGS) --bins
	HEADRACE_E2E_PRODUCER=librdkafka HEADRACE_E2E_FETCHER=librdkafka $(CARGO) test $(FLAGS) --test e2e -- runtime:: torture::network::r11 --skip runtime::native
	$(CARGO) test $(FLAGS)

.PHONY: bench
bench: setup ## a benchmark beside its peer and its limit: NAME= [RECORDS= WARM_UP= RUNS= DETAIL_RUNS= ONLY= LOAD=]
	@$(CARGO) build $(FLAGS) --bin bench --bin stateful-count --bin stored-values --bin pending-timers --bin copy-loop --bin share-worker --bin cdc-invalidation --bin task-queue --bin write-ahead-log
	@$(BIN)/bench $(NAME)

# Of the task queue and of the write-ahead log there are runs of their own; all others are of the runtime, whatever the topology.
ifeq ($(TOPOLOGY),task-queue)
CHAOS := queue $(if $(TASKS),--tasks $(TASKS)) $(if $(KILLS),--kills $(KILLS)) $(if $(RESTARTS),--restarts $(RESTARTS))
CHAOS_BINS := --bin task-queue
else ifeq ($(TOPOLOGY),write-ahead-log)
CHAOS := log $(if $(MUTATIONS),--mutations $(MUTATIONS)) $(if $(KILLS),--kills $(KILLS))
CHAOS_BINS := --bin write-ahead-log
else ifdef SEEDS
CHAOS := seeds --seeds $(SEEDS)
else ifdef SCHEDULES
CHAOS := schedules --schedules $(SCHEDULES)
else
CHAOS := kills --kills $(or $(KILLS),100) $(if $(BROKERS),--brokers $(BROKERS)) $(if $(RATE),--rate $(RATE)) $(if $(STANDBYS),--standbys $(STANDBYS)) $(if $(ONLY_KILLS),--only-kills)
endif

.PHONY: chaos
chaos: topology setup ## faults, then the verdict: KILLS=100, or SCHEDULES=200 of a bad network, or SEEDS=2000 simulated [SEED= RATE= BROKERS=3 STANDBYS=1 ONLY_KILLS=1]; TOPOLOGY=task-queue [TASKS=100000 KILLS= RESTARTS=10 SEED=], or TOPOLOGY=write-ahead-log [MUTATIONS=20000 KILLS= SEED=]
	@$(CARGO) build $(FLAGS) --bin chaos $(CHAOS_BINS)
	@$(BIN)/chaos $(CHAOS) $(if $(SEED),--seed $(SEED))

.PHONY: topology
topology:
	@if [[ " $(TOPOLOGIES) " != *" $(TOPOLOGY) "* ]]; then \
		echo "make: no topology is called '$(TOPOLOGY)'; there are: $(TOPOLOGIES)" >&2; exit 64; fi
