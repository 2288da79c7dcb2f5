.DEFAULT_GOAL := help
.PHONY: help up down demo test bench build lint clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## start PostgreSQL, Kafka and MongoDB (configured ones, Docker, or native processes)
	@compose/up

down: ## stop them, keep their data
	@compose/down

demo: ## the main job from end to end (configured servers, or its own), in under five minutes
	@compose/demo

test: ## all tests (configured servers, or their own)
	@compose/test

bench: ## the benchmarks (configured servers, or their own)
	@cargo build --release --locked
	@cargo bench --locked --no-run
	@cargo bench --locked --bench decode --bench envelope --bench write_model
	@compose/with-stack cargo bench --locked --bench pipeline -- --evp target/release/evp

build: ## the release binary: target/release/evp
	cargo build --release --locked

lint: ## format check, clippy, and cargo-deny and shellcheck if installed
	@.ci/lint

clean: ## remove build output, and the data of the native stack
	cargo clean
	@compose/native wipe
