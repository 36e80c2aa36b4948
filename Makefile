# One command for all checks, the same as CI runs after the tests' own line.
.PHONY: check test format lint types imports build

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
