# Two commands for a fresh machine; both set up .venv first and reuse it afterwards.
#   make demo   complete in the middle of names of a real file, with the default model
#   make test   everything the project checks
ifndef SIDE_BY_SIDE
.NOTPARALLEL:
endif
.PHONY: help demo test lint editors test-vscode test-torch check clean test-long bench-cursors bench-kernels bench-noise bench-speculation bench-genlm bench-replay bench-peers bench-start test-neovim test-emacs test-helix
BIN := .venv/bin

help:
	@sed -n '2,3s/^# *//p' Makefile

demo:
	@scripts/setup run
	@$(BIN)/python -P scripts/demo.py

# The editors are fetched while the sources are checked: one waits for the network, the other for a processor.
test:
	@scripts/setup test
	@$(MAKE) -j2 SIDE_BY_SIDE=yes lint editors
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long" tests tests/e2e --engine real
	@$(MAKE) test-vscode

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=scripts $(BIN)/mypy scripts/*.py

editors:
	@$(BIN)/python scripts/setup_neovim.py
	@node editors/vscode/test/setup.mjs --e2e

# The VS Code extension: types, style, units, the package, and what a person sees and does in the real VS Code.
test-vscode:
	@scripts/setup test
	@node editors/vscode/test/setup.mjs --e2e
	cd editors/vscode && npm test && npm run package && npm run e2e

# The Neovim plugin in a real Neovim, with the default model.
test-neovim:
	@scripts/setup test
	@$(BIN)/python scripts/setup_neovim.py
	$(BIN)/pytest --engine real tests/e2e/neovim

# Emacs with eglot and the settings of docs/clients.md; 160 MB of packages, so not part of `make test`.
test-emacs:
	@scripts/setup test
	@$(BIN)/python scripts/setup_emacs.py
	$(BIN)/pytest tests/e2e/emacs

# Helix with the settings of docs/clients.md; not in Debian 12, so not part of `make test`.
test-helix:
	@scripts/setup test
	@$(BIN)/python scripts/setup_helix.py
	$(BIN)/pytest tests/e2e/helix

check:
	@scripts/setup test
	@$(MAKE) lint
	$(BIN)/pytest -m "not model and not e2e and not long"

test-long:
	@scripts/setup test
	@$(BIN)/python scripts/setup_emacs.py
	$(BIN)/pytest -m long --ignore tests/e2e/helix tests

# A million random pairs of tokens a family, and the long tests of all vocabularies at hand.
.PHONY: test-tokenizers example-markov bench-keystrokes
test-tokenizers:
	@scripts/setup test
	$(BIN)/pytest -m long -rP tests/engine/test_million_pairs.py tests/engine/test_known_vocabularies.py

example-markov:
	@scripts/setup test
	@mkdir -p build
	$(BIN)/python -m examples.markov_recovery --plot build/markov.svg

bench-keystrokes:
	@scripts/setup run
	$(BIN)/python -m bench.keystrokes

# Random sessions in random worlds for ten minutes; a failure says how to run it again.
.PHONY: fuzz
fuzz:
	@scripts/setup test
	$(BIN)/python -m tests.fuzz --minutes 10

bench-cursors:
	@scripts/setup test
	@$(BIN)/python -m bench.cursors

bench-kernels:
	@scripts/setup run
	@$(BIN)/python -m bench.kernels

bench-noise:
	@scripts/setup run
	@$(BIN)/python -m bench.noise

bench-speculation:
	@scripts/setup run
	@$(BIN)/python -m bench.speculation

# torch is large, so its tests have an environment of their own over .venv. The wheel is the one that pip's index
# offers first: on Linux PyPI's is the CUDA build (gigabytes); with
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu it is the CPU build (0.2 GB).
# On a machine with a GPU the same target runs the tests there.
TORCH ?= torch==2.13.0
.venv-torch/ready: pyproject.toml Makefile
	@scripts/setup test
	@test -x .venv-torch/bin/python || $(BIN)/python -m venv .venv-torch
	@$(BIN)/python -c "import sysconfig as s; print('import site; site.addsitedir(%r)' % s.get_path('purelib'))" \
	    > "$$(.venv-torch/bin/python -c "import sysconfig as s; print(s.get_path('purelib'))")/midword.pth"
	.venv-torch/bin/pip install -q "$(TORCH)" "transformers>=4.56" triton "gguf>=0.17"
	@touch $@

test-torch: .venv-torch/ready
	@scripts/setup test
	.venv-torch/bin/python -m pytest tests/engine/backends tests/engine/models/test_hf_folder.py tests/kernels tests/bench \
	    tests/training

# What smaller keys and values save and cost: llama.cpp's types, attention sinks, KIVI on torch.
.PHONY: bench-kv
bench-kv: .venv-torch/ready
	@scripts/setup run
	$(BIN)/python -m bench.kv_economy
	.venv-torch/bin/python -m bench.kv_economy --torch

# The torch backend against the limits of the GPU; without one it says "not measured".
.PHONY: bench-gpu
bench-gpu: .venv-torch/ready
	@scripts/setup run
	.venv-torch/bin/python -m bench.gpu

clean:
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

# genlm-bytes needs torch (gigabytes), so it has an environment of its own.
bench-genlm:
	@scripts/setup run
	@test -x .venv-peers/bin/python || python3 -m venv .venv-peers
	@.venv-peers/bin/pip install -q "genlm-bytes==0.2.0" "gguf>=0.17"
	@$(BIN)/midword models pull smollm2-135m:f32
	$(BIN)/python -m bench.genlm --peer-python .venv-peers/bin/python

# What a user sees: keystrokes replayed against the real server; results in build/.
bench-replay:
	@scripts/setup test
	@mkdir -p build
	$(BIN)/midword bench replay --html build/replay.html

bench-start:
	@scripts/setup run
	$(BIN)/midword bench start

# The same keystrokes beside llama.cpp's server (xllamacpp, in an environment of its own) and beside plain tokens.
bench-peers:
	@scripts/setup test
	@test -x .venv-peers/bin/python || python3 -m venv .venv-peers
	@.venv-peers/bin/pip install -q "xllamacpp==2026.10.11549"
	@mkdir -p build
	$(BIN)/midword bench replay --patient --no-accept --keys 120 --max-tokens 16 --max-lines 100 \
	    --peer midword --peer fim --peer naive --peer llama-server --html build/peers.html

# Teaching the default model to fill in the middle: training/README.md. BENCHMARK is a folder of benchmark items to avoid.
TRAIN_BASE = $$($(BIN)/midword models path smollm2-135m:f16)
.PHONY: train train-data train-export
train-data:
	@scripts/setup run
	$(BIN)/pip install -q -e ".[training]"
	$(BIN)/python -m training.gather --benchmark "$(BENCHMARK)"

train:
	$(BIN)/python -m training.finetune --base "$(TRAIN_BASE)" $(TRAIN_FLAGS)

train-export:
	$(BIN)/python -m training.export --base "$(TRAIN_BASE)" --out build/training/smollm2-135m-fim.gguf
