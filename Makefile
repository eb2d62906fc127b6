# Two commands do everything: make demo, make test. Needs Python 3.11 or newer, make, and git.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint bench format clean help
help:
	@echo 'make demo   the whole thing once on the simulator, with real videos at the end'
	@echo 'make test   all tests, with branch coverage'
	@echo 'make lint   ruff and mypy'
	@echo 'make bench  measure speed and memory into docs/benchmarks.md: half an hour on an idle machine;'
	@echo '            QUICK=1 tries it in two minutes, NAME="makespan intake" measures only those'
	@echo 'make format let ruff format the code'
	@echo 'make clean  remove the virtual environment and caches'

$(READY): pyproject.toml constraints.txt
	@test -n '$(PYTHON)' || { echo 'chromadrop needs Python 3.11 or newer; install it, or say make PYTHON=/path/to/python3'; exit 1; }
	@echo 'Setting up $(VENV) with $(PYTHON) ...'
	@$(PYTHON) -m venv $(VENV) || { echo 'On Debian and Ubuntu: apt-get install python3-venv'; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	@$(BIN)/chromadrop demo

# Most tests wait for something, so more run at once than there are cores; those of one file stay together.
TESTS_AT_ONCE ?= 4
test: $(READY)
	$(BIN)/python -m pytest -n $(TESTS_AT_ONCE) --dist loadfile --cov --cov-report=term --cov-fail-under=90

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(NAME)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* build *.egg-info
