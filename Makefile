# Each target does its own set-up, in .venv, and repeats none of it: `make demo` works on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv installs in seconds what takes pip minutes, but does not read pip's find-links setting by itself.
UV := $(if $(PIP_FIND_LINKS),UV_FIND_LINKS="$(PIP_FIND_LINKS)",) UV_COMPILE_BYTECODE=1 $(BIN)/uv
# llama-cpp-python is built from source, without what only its command line tools and vision models need.
LLAMA_CPP := CMAKE_ARGS="-DLLAVA_BUILD=OFF '-DCMAKE_PROJECT_llama.cpp_INCLUDE=$(CURDIR)/llama-cpp.cmake'"
# uv keeps what it built by its settings, and the file that is included is one of them only by this sum; what is
# installed it does not compare.
INSTALL := $(UV) pip uninstall --quiet --python $(BIN)/python llama-cpp-python && $(LLAMA_CPP) $(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt \
  --config-settings-package llama-cpp-python:cmake.define.LLMCOURSE_BUILD=$(firstword $(shell cksum llama-cpp.cmake))

# A browser for the tests of the family tree's page; without one they are skipped and say so.  Nothing is installed
# where that needs a password.
CHROMIUM := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
INSTALL_CHROMIUM := $(if $(CHROMIUM),true,[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
  apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium >/dev/null)

.PHONY: architectures docs demo test models browser mermaid slow torture schemas test-gpu lint fix bench constraints dist release test-pythons clean

demo: $(VENV)/.demo
	@$(BIN)/python -m llmcourse.testing.demo

test: lint models browser mermaid
	MERMAID_JS="$$(ls $(MERMAID) 2>/dev/null)" $(BIN)/pytest -n auto --dist worksteal -m "not slow and not gpu and not real" $(ARGS)

# Trained once per machine and kept: tests share them, and each has its own time limit.
models: $(VENV)/.dev
	$(BIN)/python -c "from llmcourse.testing.models import build_family; build_family()"

browser:
	@$(INSTALL_CHROMIUM) || echo "no chromium here: tests that open the family tree's page are skipped"

# What draws the family tree in cards, for the tests that have it draw; npm is a part of Node.js, nothing else is used.
MERMAID := $(VENV)/mermaid/package/dist/mermaid.min.js
mermaid: $(BIN)/uv
	@[ -e $(MERMAID) ] || { mkdir -p $(VENV)/mermaid && cd $(VENV)/mermaid && \
	  npm pack --silent mermaid@12.3.0 >/dev/null 2>&1 && tar xzf mermaid-*.tgz package/dist/mermaid.min.js; } || \
	  echo "no npm here: tests that have Mermaid draw the family tree are skipped"

# Compares with llama.cpp's own tools too, which are built once (minutes).
slow: $(VENV)/.dev
	LLAMA_CPP_TOOLS="$$($(BIN)/python bench/llama_tools.py $(VENV)/llama.cpp)" $(BIN)/pytest -n auto --dist worksteal -m "(slow or gpu) and not real" $(ARGS)

# Types every command of the README and the manual on the demo's Hub; `make slow` does so with tiny models.
.PHONY: examples
examples: $(VENV)/.dev
	$(BIN)/python scripts/examples.py --write $(ARGS)

# With a real language model, SmolLM2-135M-Instruct.
.PHONY: real
real: $(VENV)/.dev
	$(BIN)/pytest -m real $(ARGS)

# Breaks the world around every command and writes docs/reliability.md; ARGS="--only kill merge" does a part.
torture: models
	nice $(BIN)/python -m torture $(ARGS)

# For a machine with CUDA, whose own Python has torch, nvcc and ninja.  With WHEELS=DIR, a folder with the wheels
# of what is missing there, no network is used.
GPU := .venv-gpu
OFFLINE := $(if $(WHEELS),PIP_NO_INDEX=1 PIP_FIND_LINKS="$(abspath $(WHEELS))" LLMCOURSE_WHEELS="$(abspath $(WHEELS))",)
test-gpu:
	$(PYTHON) -m venv --system-site-packages $(GPU)
	$(OFFLINE) $(GPU)/bin/python -m pip install --quiet --editable '.[merge,gptq,exl2]' pytest pytest-timeout
	$(OFFLINE) LLMCOURSE_TORCH="$$($(GPU)/bin/python -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))')" \
	  $(GPU)/bin/python -m pytest -m gpu -s tests/gpu

lint: $(VENV)/.dev
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache >.lint-imports.log || (cat .lint-imports.log; exit 1)

# A site of static pages; a broken link, anchor or image ends it.
docs: $(VENV)/.dev
	$(BIN)/python scripts/reference.py
	$(BIN)/zensical build --strict --clean
	$(BIN)/python scripts/links.py docs-out

# What editors check configs against; a test tells when they are not current.
schemas: $(VENV)/.dev
	for path in configs/*; do name="$$(basename $$path)"; $(BIN)/llmcourse schema $$name >docs/schemas/$$name.json || exit 1; done

fix: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/merge.py $(ARGS)
	$(BIN)/python bench/gguf.py
	$(BIN)/python bench/gptq.py
	$(BIN)/python bench/autoeval.py
	$(BIN)/python bench/family_tree.py
	$(BIN)/python bench/family_tree_page.py

# Every class of llama.cpp's converter as a tiny model: its bytes against ours; ends with 1 where ours alone fails.
architectures: $(VENV)/.dev
	$(BIN)/python bench/gguf_architectures.py $(ARGS)

# The versions that were tested, from what is installed now; no index, no local builds.
constraints: $(VENV)/.dev
	$(UV) pip freeze --python $(BIN)/python --exclude-editable | sed 's/+cpu$$//' | grep -vE '^pip==' > constraints.txt

# The source archive, and the wheel made from it, as PyPI's users get them.
dist: $(VENV)/.dev
	rm -rf dist
	$(UV) build --quiet --out-dir dist
	$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz

# A dry run: make release VERSION=0.1.0; with ARGS=--tag or ARGS=--publish it is done.
release: $(VENV)/.dev
	$(BIN)/python scripts/release.py $(VERSION) $(ARGS)

# The wheel on each Python that it claims and that is here, and with the oldest and newest libraries it admits.
# The index has PyTorch for Linux with CUDA only: gigabytes, fetched once, into uv's cache.
test-pythons: $(VENV)/.dev
	$(BIN)/pytest -m slow tests/package/test_pythons.py tests/package/test_bounds.py $(ARGS)

clean:
	rm -rf $(VENV) $(GPU) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .lint-imports.log demo-out docs-out dist

$(BIN)/uv:
	@echo "setting up $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt uv

$(VENV)/.demo: $(BIN)/uv pyproject.toml constraints.txt llama-cpp.cmake
	@echo "installing llmcourse[demo], building llama.cpp for it (minutes, once) …"
	@$(INSTALL) --editable '.[demo]'
	@$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.dev: $(BIN)/uv pyproject.toml constraints.txt llama-cpp.cmake
	@echo "installing llmcourse[dev], building llama.cpp for it (minutes, once) …"
	@$(INSTALL) --editable '.[dev]'
	@$(BIN)/python -m compileall -q src
	@touch $@ $(VENV)/.demo
