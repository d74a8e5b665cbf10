# Two commands: `make demo` shows what it does, `make test` checks it. Both make .venv and install what they need.
PYTHON ?= python3
PY := .venv/bin/python

.PHONY: demo test test-slow attack lint gallery docs clean

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "pyrovae needs Python 3.11 or later; this is $$($(PYTHON) --version): make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	$(PY) -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/installed-test: .venv/bin/python pyproject.toml
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@ .venv/installed

demo: .venv/installed
	$(PY) scripts/demo.py

# Two to four processes of one thread each: more threads than cores wait for each other.
test: .venv/installed-test lint
	OMP_NUM_THREADS=1 $(PY) -m pytest -m "not slow" -n auto --maxprocesses 4 --dist worksteal

test-slow: .venv/installed-test
	OMP_NUM_THREADS=1 $(PY) -m pytest -m slow

# Kills, bad command lines, hostile files and faults, counted: half an hour on 2 cores; a short form is in make test.
attack: .venv/installed-test
	$(PY) scripts/attack

lint: .venv/installed-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# Trains the models of docs/gallery.md and draws its pictures: half an hour on 2 cores. DATA is the folder of downloaded data.
gallery: .venv/installed
	$(PY) scripts/gallery.py --out docs/images/gallery --page docs/gallery.md $(if $(DATA),--data-root '$(DATA)')

docs: .venv/installed
	$(PY) scripts/tables.py docs/parts.md docs/data.md docs/training.md

clean:
	rm -rf .venv build dist *.egg-info
