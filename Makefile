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

# Search on the embedded images, fine-tune the best network, export it, write the report: a control
# that spends everything on training (one ratio of filters by L1 norm), and a policy that learns.
DEMO := train PruneResNet20-v0 --target latency=0.45 --budget 1 --seed 0 --overwrite \
	--env tolerance=0.5 --env eval_images=250 --env repair_images=64
demo: install
	$(BIN)/prune-gym $(DEMO) --agent l1 --out $(DEMO_OUT)-l1
	$(BIN)/prune-gym $(DEMO) --agent l2pf --set updates=1 --set candidates=3 --out $(DEMO_OUT)
	$(BIN)/prune-gym report $(DEMO_OUT) $(DEMO_OUT)-l1 -o $(DEMO_OUT)-report

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
