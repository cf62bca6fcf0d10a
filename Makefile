# All tasks. `make run` and `make test` make what they need; CI runs exactly `make check test`, and a small `make prove`.
BIN := .venv/bin
PYTHON ?= python3
EVENTS ?= 100000
KILLS ?= 100
SEED ?= 1

.PHONY: run check test prove image-test generate docs bench bench-sql fuzz clean

run: .venv/run
	$(BIN)/intelstream run config/demo.yaml

test: .venv/dev
	$(BIN)/pytest

prove: .venv/run
	$(BIN)/intelstream prove --events $(EVENTS) --kills $(KILLS) --seed $(SEED)

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	PYTHONPATH=src $(BIN)/lint-imports --no-cache
	$(BIN)/python -m intelstream.app.generate --check

image-test:
	.ci/image-test

generate docs: .venv/dev
	$(BIN)/python -m intelstream.app.generate

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "needs Python 3.11 or newer: apt install python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python 3.11 or newer, found $$($(PYTHON) --version): apt install python3 on Debian 12, Ubuntu 24.04 or newer"; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "needs the venv module: apt install python3-venv"; exit 1; }

.venv/run: pyproject.toml | .venv/bin/python
	$(BIN)/pip install -q --disable-pip-version-check -e '.[all]'
	@touch $@

.venv/dev: pyproject.toml | .venv/bin/python
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@ .venv/run

bench: .venv/dev
	$(BIN)/python bench/reference.py

bench-sql: .venv/dev
	PYTHONPATH=tests $(BIN)/python bench/sql.py

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
