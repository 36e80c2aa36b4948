# One command for all checks, the same as CI runs after the tests' own line.
.PHONY: check test format lint types imports build rllib

check: test lint types imports

test:
	pytest

format:
	ruff format .
	ruff check --fix .

lint:
	ruff format --check .
	ruff check .

types:
	mypy

imports:
	lint-imports

build:
	python -m build

# RLlib pins an older gymnasium, so its tests run in an environment of its own, and with them a part
# of the suite on that gymnasium:  python -m venv rllib && rllib/bin/pip install -e ".[rllib]" \
#   pytest pytest-xdist hypothesis && make rllib PYTHON=rllib/bin/python
PYTHON ?= python
rllib:
	$(PYTHON) -m pytest -n 0 tests/cluster/test_rllib.py
	$(PYTHON) -m pytest tests/environments tests/simulator/test_autoreset.py \
		tests/training/test_policy.py tests/training/test_run_folder.py \
		tests/evaluation/test_rollout.py tests/evaluation/test_evaluate.py
