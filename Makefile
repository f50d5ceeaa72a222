# One target for each thing a person does. `make` alone lists them.

.DEFAULT_GOAL := help
CARGO ?= cargo
export KEEP

.PHONY: help build run test bench fuzz lint fmt docs clean deps

help: ## say what the targets do
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what is missing (Debian packages, Python reference tools)
	@scripts/install-deps.sh

build: ## build every program into target/release
	$(CARGO) build --release --workspace --locked

run: deps build ## start a node and run the tour; KEEP=1 leaves the node up
	@scripts/tour

test: deps ## everything CI checks: format, law, lints, tests, end-to-end tests
	$(CARGO) xtask ci

bench: build ## measure against the peers, in the same run
	@scripts/install-deps.sh --bench
	@scripts/bench

fuzz: ## fuzz with feedback (nightly, cargo-fuzz): TARGET=one of fuzz/fuzz_targets, SECONDS=each
	@scripts/fuzz "$(TARGET)" "$(or $(SECONDS),60)"

lint: ## clippy without warnings, and the law of the workspace
	$(CARGO) clippy --release --workspace --all-targets --locked -- -D warnings
	$(CARGO) xtask tidy

fmt: ## format the sources
	$(CARGO) fmt --all

docs: ## write the generated documents
	$(CARGO) xtask docs

clean: ## remove what was built, and the Python tools
	$(CARGO) clean
	rm -rf .venv
