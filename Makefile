# make demo: install into .venv and run the example.
# make test: install what the tests need; lint, types, tests.
# make docs: install what the documentation needs and build it into docs/_build/html.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint docs clean

demo: .venv/installed
	$(BIN)/transmute demo

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/pytest -n auto

lint: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/installed-docs
	$(BIN)/sphinx-build -q -W --keep-going docs docs/_build/html

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install -q -e ".[dev]"
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/pip install -q -e ".[docs]"
	touch $@

clean:
	rm -rf .venv runs docs/_build
