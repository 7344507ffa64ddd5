# SPDX-License-Identifier: Apache-2.0
# Thin names for what scripts/ and the package do. Every target sets up what it needs first.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
ENV := . scripts/env.sh
PY := $(VENV)/bin/python
GPU_PYTHON ?= python3
export VENV PYTHON ROS_LOCK

.PHONY: help setup demo test lint docs bench gpu clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: ## system packages, virtual environment, ROS messages; skips what is done
	@bash scripts/setup.sh

demo: setup ## generate a scene, run the node on it over DDS, score, draw: out/demo (DEMO_ARGS=...)
	@$(ENV); $(PY) -m simdistill_ros.replay.demo $(DEMO_ARGS)

lint: setup ## ruff and mypy
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

test: export KERNELS := 1
test: lint ## lint, then both test suites (PYTEST_ARGS=...)
	@$(ENV); $(PY) -m pytest $(PYTEST_ARGS)
	@$(ENV); $(PY) -m pytest -c training/pyproject.toml training/tests $(PYTEST_ARGS)

docs: setup ## build the documentation as a site: out/docs/index.html
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet && echo "out/docs/index.html"

bench: setup ## measure speed; results go into benchmarks/README.md (BENCH_ARGS=...)
	@$(ENV); $(PY) -m benchmarks $(BENCH_ARGS)

gpu: ## check and measure the CUDA path here: any NVIDIA GPU, no setup (GPU_PYTHON=, GPU_ARGS=)
	@$(GPU_PYTHON) -m benchmarks.gpu $(GPU_ARGS)

clean: ## remove what was made here: the environment, build folders, caches, out
	rm -rf $(VENV) build install log out .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
