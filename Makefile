# make demo: install into .venv and run the example.
# make test: install what the tests need; lint, types, tests.
# make campaign: attack with damaged and hostile input, for ten minutes. SEED=7 chooses the cases.
# make lint: fix and format the code.
# make docs: install what the documentation needs and build it into docs/_build/html.
# Without make, for example on Windows: python scripts/setup.py demo|test|campaign|lint|docs
PYTHON ?= python3
SEED ?= 0

.PHONY: demo test campaign lint docs clean

demo test lint docs:
	$(PYTHON) scripts/setup.py $@

campaign:
	$(PYTHON) scripts/setup.py campaign --seed $(SEED)

clean:
	rm -rf .venv runs docs/_build
