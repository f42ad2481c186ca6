# Voxify on one machine. `make` alone lists what there is.
PYTHON ?= python3.11
BIN := .venv/bin
export VOXIFY_ENV ?= dev
export VOXIFY_DATA_DIR ?= $(CURDIR)/data
# BentoML counts only the word True.
export BENTOML_DO_NOT_TRACK := True

.PHONY: help up demo test test-slow test-images test-containers test-postgres chaos check audit format load bento images manifests requirements train-voice evaluate-voice clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.venv/.installed: requirements/dev.txt pyproject.toml
	@echo "Making the environment in .venv (several GB, most of it PyTorch; only the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $$(grep -E '^uv==' requirements/dev.txt)
	@$(BIN)/uv pip install --python $(BIN)/python --no-deps -r requirements/dev.txt
	@$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation -e .
	@touch $@
	@echo "The environment is ready"

up: .venv/.installed  ## Start everything here; Ctrl-C stops it
	@exec $(BIN)/python -m scripts.up

demo: .venv/.installed  ## Walk the main job: a voice in, speech out
	@exec $(BIN)/python -m scripts.demo

test: .venv/.installed  ## The whole test suite
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: .venv/.installed  ## The tests that take minutes each
	$(BIN)/python -m pytest -m slow

test-images: .venv/.installed  ## Build the image of the API without a Docker engine, and run it (root; needs buildah and mmdebstrap)
	timeout 2400 $(BIN)/python -m pytest tests/deploy/test_images.py -m slow

test-containers: .venv/.installed  ## Build both images, run Compose's files and the chart's pods (root; and podman and what .ci/run installs with it; 25 GB)
	timeout 3000 $(BIN)/python -m pytest tests/deploy/test_images.py tests/deploy/test_containers_one.py tests/deploy/test_containers_many.py -m slow

chaos: .venv/.installed  ## Kill everything again and again: SEED=1 KILLS=300 JOBS=3000 TOPOLOGY=workers
	$(BIN)/python -m tests.chaos --seed $(or $(SEED),1) --kills $(or $(KILLS),300) --jobs $(or $(JOBS),3000) --topology $(or $(TOPOLOGY),workers)

test-postgres: .venv/.installed  ## The tests of the API with its rows in PostgreSQL
	$(BIN)/python -m pytest tests/api -m "not slow" -n 2 --dist loadfile --database postgresql

check: .venv/.installed  ## Lint, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

audit: .venv/.installed  ## Look up known vulnerabilities of all that is pinned (asks pypi.org)
	# Strict: of what an index knows nothing, it would else say that nothing was found.
	$(BIN)/uv tool run --from pip-audit==2.10.1 pip-audit --strict --no-deps --disable-pip -r requirements/dev.txt

format: .venv/.installed  ## Format, and mend what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

load: .venv/.installed  ## A load test against a Voxify of its own: PROFILE=smoke VOICE=smoke PATIENCE=1 PEOPLE=8, or against yours: URL=…
	$(BIN)/python -m load_tests --profile $(or $(PROFILE),smoke) --voice $(or $(VOICE),smoke) --patience $(or $(PATIENCE),1) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(PEOPLE),--people $(PEOPLE)) $(if $(URL),--url $(URL))

bento: .venv/.installed  ## Build the Bento of the inference service
	$(BIN)/bentoml build

images: .venv/.installed  ## Build the images of API and workers without a Docker engine (root; needs buildah and mmdebstrap)
	deploy/build.sh api

manifests:  ## Render deploy/kubernetes from the chart (needs golang-go, golang-github-masterminds-sprig-dev, golang-gopkg-yaml.v3-dev)
	GO111MODULE=off GOPATH=/usr/share/gocode go run ./deploy/render deploy/helm/voxify deploy/kubernetes existingSecret=voxify

requirements: .venv/.installed  ## Compile the pinned requirements again
	$(BIN)/uv pip compile pyproject.toml --all-extras --python-version 3.11 --no-emit-index-url --quiet -o requirements/dev.txt
	$(BIN)/uv pip compile pyproject.toml --extra api --extra worker --python-version 3.11 --no-emit-index-url --quiet -c requirements/dev.txt --excludes requirements/api-left-out.txt -o requirements/api.txt
	$(BIN)/uv pip compile pyproject.toml --extra inference --python-version 3.11 --no-emit-index-url --quiet -c requirements/dev.txt -o requirements/inference.txt

train-voice: .venv/.installed  ## Go on training the bundled voice (needs flite, espeak-ng and wordnet-base)
	$(BIN)/python -m inference.training all

evaluate-voice: .venv/.installed  ## Measure the bundled voice (needs flite, espeak-ng and wordnet-base)
	$(BIN)/python -m inference.training evaluate

clean:  ## Remove the environment and caches; data stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache *.egg-info
