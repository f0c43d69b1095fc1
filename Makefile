# make demo: install into .venv and run the example.
# make test: install what the tests need; lint, types, tests.
# make lint: fix and format the code.
# make docs: install what the documentation needs and build it into docs/_build/html.
# Without make, for example on Windows: python scripts/setup.py demo|test|lint|docs
PYTHON ?= python3

.PHONY: demo test lint docs clean

demo test lint docs:
	$(PYTHON) scripts/setup.py $@

clean:
	rm -rf .venv runs docs/_build
