# The commands of the course. `make help` lists them.
PYTHON ?= python3
VENV   := $(if $(NEWEST),.venv-newest,.venv)
BIN    := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY     := $(BIN)/python
PIN    := $(if $(NEWEST),--upgrade,-c constraints.txt)
STAMP  := $(VENV)/installed
DOCS   := $(VENV)/installed-docs
README := $(PY) -m nbconvert --log-level ERROR --execute --to markdown --no-input --output-dir . --output README nbs/index.ipynb

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export MPLBACKEND := Agg

.DEFAULT_GOAL := help
.PHONY: help run test check lab workbook export clean-nbs refresh docs docs-serve constraints bench clean

help:  ## List the targets
	@echo "make run    train a small network on real images (sets everything up the first time)"
	@echo "make test   export, run every lesson, and test the package"
	@grep -hE '^(lab|workbook|export|refresh|docs|docs-serve|bench|constraints|clean):.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 16
	@echo "NEWEST=1    with any of them: the newest versions in .venv-newest, without constraints.txt"

# A tested set of versions (constraints.txt) is installed once, and again only if the list of requirements changes.
$(STAMP): settings.ini setup.py $(if $(NEWEST),,constraints.txt)
	@echo "Setting up $(VENV); the first time this takes a few minutes."
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; v < (3, 10) and sys.exit('Python 3.10 or newer is needed, this is %d.%d: make PYTHON=python3.12' % v)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet $(PIN) -e '.[dev]'
	@echo installed > $(STAMP)

run: $(STAMP)  ## Train a small network on real images
	@$(BIN)/mylib-train $(ARGS)

lab: $(STAMP)  ## Open the lessons in JupyterLab
	$(PY) -m jupyterlab $(if $(DIR),$(DIR)/nbs,nbs)

workbook: $(STAMP)  ## Make a folder in which you write the library yourself (DIR=workbook)
	@$(BIN)/mylib-workbook new $(or $(DIR),workbook)
	@echo "make lab DIR=$(or $(DIR),workbook) opens it."

export: $(STAMP)  ## Write the package from the notebooks
	$(BIN)/nbdev-export
	$(BIN)/nbdev-clean
	$(README)

check: $(STAMP)
	@$(PY) tools/unchanged.py -- $(BIN)/nbdev-export
	@$(PY) tools/unchanged.py -- $(BIN)/nbdev-clean
	@$(PY) tools/unchanged.py -- $(README)
	@$(PY) tools/stale.py

test: check  ## Export, run every lesson, and test the package
	$(BIN)/ruff check .
	$(BIN)/nbdev-test --n-workers 2 --timing
	$(PY) -m pytest

refresh: $(STAMP)  ## Run every lesson in Jupyter, long cells included, and store the outputs
	$(PY) tools/stale.py --run
	$(PY) tools/picture.py
	$(MAKE) export

$(DOCS): $(STAMP)
	@echo "Setting up what the site needs."
	@$(PY) -m pip install --quiet $(PIN) -e '.[dev,docs]'
	@echo installed > $(DOCS)

docs: $(DOCS)  ## Build the site into docs/_build/html
	$(PY) docs/make_site.py

docs-serve: $(DOCS)  ## Show the site at http://localhost:8000 and rebuild it on save
	$(PY) docs/make_site.py --serve

bench: $(STAMP)  ## Measure our speed beside plain PyTorch
	@for f in benchmarks/[a-z]*.py; do $(PY) $$f || exit 1; done

constraints: test  ## Record the versions of this green run in constraints.txt
	$(PY) tools/constraints.py

clean:  ## Remove what the other targets made, environments included
	rm -rf .venv .venv-newest build dist *.egg-info _proc runs docs/_build .pytest_cache .ruff_cache .hypothesis nbs/.hypothesis
