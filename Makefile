# Two commands for a fresh machine; both set up .venv first and reuse it afterwards.
#   make demo   complete in the middle of names of a real file, with the default model
#   make test   everything the project checks
.NOTPARALLEL:
.PHONY: help demo test check clean
BIN := .venv/bin

help:
	@sed -n '2,3s/^# *//p' Makefile

demo:
	@scripts/setup run
	@$(BIN)/python -P scripts/demo.py

test:
	@scripts/setup test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=scripts $(BIN)/mypy scripts/*.py
	$(BIN)/pytest --engine real

check:
	@scripts/setup test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not model and not e2e"

clean:
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
