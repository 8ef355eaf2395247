# Two commands matter: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
DEMO_OUT ?= runs/demo

.PHONY: demo test test-portable test-slow lint format install clean

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV), about 2 minutes"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

install: $(VENV)/.installed

# Search on the embedded images, fine-tune the best network, export it, write the report.
demo: install
	$(BIN)/prune-gym train PruneResNet20-v0 --agent l2pf --episodes 1 --set updates=2 \
		--set candidates=3 --env eval_images=500 --final-epochs 1 --seed 0 --out $(DEMO_OUT) --overwrite

# One process a core, one thread a process; a module's tests stay together, they share fixtures.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadscope

# What depends on float sums, under the instruction sets of other processors.
test-portable: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.portable

# The real networks and data.
test-slow: install
	$(BIN)/python -m pytest -m slow

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
