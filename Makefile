# The one front door. `make` alone lists the targets. Every target sets up what it needs.

.DEFAULT_GOAL := help
.PHONY: help setup rehearse test engines clients drives torture mutants fuzz selftest catalogues vocabulary wiring lint format types layers docs bench lock wheel

# Exported so that `make setup PYTHON=/path/to/python3` reaches the scripts.
export PYTHON

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## create or refresh .venv with everything (uv if it works here, else venv and pip)
	@tools/setup.sh

rehearse: setup ## see the gate allow and refuse, from a real client, in under a minute
	@.venv/bin/claiim rehearse

# Hundreds of processes read the same modules: they are compiled once, whatever this machine's habit is.
test engines torture: export PYTHONDONTWRITEBYTECODE =

# Half of what a test takes is waiting: for the disk, for servers, for clients.
workers = $$(( $$(getconf _NPROCESSORS_ONLN) * 3 / 2 ))

test: setup ## run all tests, on every core
	.venv/bin/python -m pytest -n $(workers) --dist loadfile --no-loadscope-reorder

ENGINE ?= $(or $(CLAIIM_PROXY_ENGINE),mitmproxy)
engines: setup ## the tests of the wire, attacks, clients, readers and torture, all with the engine that is not the default (half an hour)
	CLAIIM_PROXY_ENGINE=$(ENGINE) .venv/bin/python -m pytest -n $(workers) --dist loadfile tests/proxy tests/attacks tests/clients tests/sdk tests/fuzz tests/torture

clients: setup ## fetch the vendors' libraries that some tests run for real (needs the package registries; half a minute)
	@tools/clients.sh

drives: setup ## drive every tool of docs/wiring.md through a gate, in both ways (minutes)
	npm ci --prefix tests/clients/wiring --ignore-scripts --no-audit --no-fund
	CLAIIM_DRIVES=1 .venv/bin/python -m pytest tests/clients/wiring

torture: setup ## the tests that break the disk, the power and the process, in their long numbers (an hour and more)
	CLAIIM_TORTURE=1 .venv/bin/python -m pytest tests/torture tests/chron/test_drill.py tests/chron/test_any_bit.py tests/chron/test_rotated.py tests/proxy/test_workers.py tests/policies/test_monotone.py tests/fuzz/test_garden.py tests/proxy/test_two_engines.py tests/clients/test_no_proxy.py tests/clients/test_large_bodies.py tests/clients/test_registry.py

mutants: setup ## change what decides, one place at a time, and see that a test notices (an hour and more)
	.venv/bin/python tools/mutants.py

SECONDS ?= 10
HARNESS ?=
fuzz: setup ## feed the readers mutated bytes, SECONDS=10 for each HARNESS (all of them); fails on a finding
	@tools/fetch-group.sh fuzz .fuzz/lib
	@PYTHONPATH=tests:. .venv/bin/python -m support.fuzzing --seconds $(SECONDS) $(HARNESS)

selftest: setup ## name every operation of every source (needs the package registries; minutes)
	.venv/bin/python tools/selftest/run.py --write
	.venv/bin/python tools/selftest/aged/aws.py

catalogues: setup ## compile the catalogues anew from the pinned packages (needs the package registries)
	.venv/bin/python tools/catalogues/build.py

vocabulary: setup ## write docs/vocabulary.md and the JSON Schemas from the shipped rules and models
	.venv/bin/python tools/vocabulary.py
	.venv/bin/python tools/schemas.py

wiring: setup ## write docs/wiring.md from the tables of tools and variables
	.venv/bin/python tools/wiring.py

lint: setup ## check style and formatting
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

format: setup ## rewrite the code in the house format
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

types: setup ## check types, strictly
	.venv/bin/mypy
	.venv/bin/mypy --config-file sdk/pyproject.toml sdk/src

layers: setup ## check which room imports which
	.venv/bin/lint-imports

docs: setup ## check links and code blocks of the documentation
	.venv/bin/python tools/check_docs.py

ONLY ?=
bench: setup ## measure the gate beside mitmdump and squid, decisions beside other policy engines (ONLY="wire" or other parts)
	@tools/fetch-group.sh bench .bench
	@PYTHONPATH=tools .venv/bin/python -m bench $(ONLY)

wheel: setup ## build the wheels of the gate and of the SDK into dist/
	.venv/bin/python -m build --wheel --no-isolation --outdir dist .
	.venv/bin/python -m build --wheel --no-isolation --outdir dist sdk

lock: ## resolve the versions anew (needs uv)
	uv lock
	$(call export,requirements.txt,--no-dev)
	$(call export,requirements-dev.txt,--group dev)

# What pip installs where there is no uv: the versions of uv.lock, and no address.
define export
	{ echo '# Written by `make lock` from uv.lock, for machines without uv. Do not edit.'; \
	  uv export --quiet --frozen --no-hashes --no-emit-workspace --no-annotate --no-header $(2); } > $(1)
endef
