# Posthorn's commands. `make help` lists them; `make run` and `make test` need nothing set up but Python 3.13.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# some machines set it: each process that a test starts would compile all that it imports
unexport PYTHONDONTWRITEBYTECODE

# Python 3.13, under whichever name the machine has it (pyenv follows .python-version)
PYTHON  ?= $(shell for name in python3.13 python3 python; do \
  "$$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null && { echo "$$name"; break; }; done)
TOOLS   := .tools
UV      := $(TOOLS)/bin/uv
VENV    := .venv
BIN     := $(VENV)/bin
SERVICES := smtp-in delivery scan relay pop3 imap api local cli
# the console is files, made by Vite from these
CONSOLE  := services/console/src/posthorn_console/files/index.html
SOURCES  := $(shell find services/console/web -name node_modules -prune -o -type f ! -name schema.ts -print)
# three tests at a time, for they wait more than they compute; each file whole in one worker, and so tests/e2e and tests/chaos, which
# come first (tests/support/distribution.py); `make test ARGS="-n 0"` runs them one by one. Helm and NATS are programs in Go: collecting garbage less often takes a quarter off the time of a rendering
WORKERS  ?= 3
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
PACKAGES := libs/posthorn services/console $(addprefix services/,$(SERVICES))
LOCKED  := VERSION requirements/dev.txt $(addsuffix /pyproject.toml,$(PACKAGES))

.PHONY: help run test test-root lint style types lock release bench scale-page accuracy chaos interop defence containers cluster chart docs client console screenshots viewer clean format

help:  ## show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv comes from PyPI into a folder of its own, so that nothing on the machine is changed.
$(UV):
	@[ -n "$(PYTHON)" ] || { echo "make: Python 3.13 is needed, as python3.13 or python3, or with PYTHON=/path/to/it" >&2; exit 1; }
	@$(PYTHON) -m venv $(TOOLS) && $(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check uv

# Everything in the lock, checked against its hashes; then our own packages, editable and without dependencies.
$(VENV)/.ready: $(LOCKED) | $(UV)
	@$(UV) venv --quiet --allow-existing --python $(TOOLS)/bin/python $(VENV)
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(addprefix -e ,$(PACKAGES))
	@touch $@

$(CONSOLE): $(SOURCES) | $(VENV)/.ready
	@$(BIN)/python -m tools.console build

run: $(VENV)/.ready $(CONSOLE)  ## start the whole system on this machine (SMTP 2525, IMAP 2143, POP3 2110, API 8080); Ctrl-C stops it
	@exec $(BIN)/posthorn-local --with-parent

test: $(VENV)/.ready $(CONSOLE)  ## run every test that needs no root and no container, on real Postgres, NATS and S3
	@GOGC=400 $(BIN)/pytest $(PARALLEL) -m "not interop and not defence and not root and not containers and not cluster" $(ARGS)

# the folders that hold such tests: to collect all others too takes longer than some of these run
WITH_ROOT := tests/chaos tests/e2e
WITH_INTEROP := tests/chart tests/conformance tests/console tests/e2e tests/integration/api tests/project
test-root: $(VENV)/.ready  ## run the tests that only root can run, such as starting local mode as another user
	@$(BIN)/pytest -m root $(or $(ARGS),$(WITH_ROOT))

interop: $(VENV)/.ready  ## run the tests with swaks, curl, mpop, fetchmail, getmail6, msmtp, s-nail, neomutt, haproxy, dovecot, mbsync, offlineimap, chromium, promtool (Debian packages)
	@$(BIN)/pytest $(PARALLEL) -n 2 -m interop $(or $(ARGS),$(WITH_INTEROP))

# installed if they are missing and this is root; no daemon is started
DEFENCE := rspamd clamav-daemon unbound rbldnsd
defence: $(VENV)/.ready  ## run the tests of the scanning tier with rspamd, clamd, unbound and rbldnsd (Debian packages)
	@deploy/install-debian $(DEFENCE)
	@$(BIN)/pytest -n 0 -m defence $(ARGS) tests/defence

containers: $(VENV)/.ready  ## build the images and run the compose system with stand-ins for Postgres, NATS and S3 (as root)
	@$(BIN)/pytest -m containers $(ARGS) tests/containers

cluster: $(VENV)/.ready  ## install the chart on the cluster of KUBECONFIG and hurt it under load (docs/reliability.md)
	@$(BIN)/pytest -n 0 -m cluster $(ARGS) tests/cluster

chart: $(VENV)/.ready  ## renew what of the Helm chart is made from the settings and values, and test the chart
	@$(BIN)/python -m deploy.helm.generate
	@$(BIN)/python -m deploy.helm.generate --check
	@$(BIN)/pytest $(ARGS) tests/chart

lint: types style  ## ruff, import rules and types, of the console too

style: $(VENV)/.ready  ## ruff and import rules, and what of the console can be checked without a browser
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m tools.console check

types: $(VENV)/.ready  ## mypy, strict
	@$(BIN)/mypy libs/posthorn/src $(foreach s,$(SERVICES),services/$(s)/src) tests bench chaos deploy tools

format: $(VENV)/.ready  ## put the code in form
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet . ; $(BIN)/python -m tools.console format

bench: $(VENV)/.ready  ## measure against Postfix and Dovecot in one run (Debian packages postfix and dovecot-pop3d, dovecot-imapd)
	@$(BIN)/python -m bench $(ARGS)

scale-page: $(VENV)/.ready  ## put the newest results of make bench ARGS="--only scale" into docs/scale.md
	@$(BIN)/python -m bench.scale_page --newest

accuracy: $(VENV)/.ready  ## how often the built-in scorer is wrong, beside bogofilter (a corpus from npm; ARGS="--names")
	@$(BIN)/python -m bench.accuracy --check $(ARGS)

chaos: $(VENV)/.ready  ## hurt the running system under a load and account for every message (ARGS="--seed 7 --minutes 30")
	@$(BIN)/python -m chaos $(ARGS)

# dev.txt first, the set of everything; those of the images and of the build stage are compiled within it, so that what is tested is
# what ships. Versions stay as they are while they fit; ARGS=--upgrade renews them. No index address is written.
COMPILE := $(UV) pip compile --quiet --python-version 3.13 --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
    $(foreach p,posthorn posthorn-console $(addprefix posthorn-,$(SERVICES)),--no-emit-package $(p))

lock: $(UV)  ## compile requirements/*.txt from the pyproject files (ARGS=--upgrade for later versions)
	@$(COMPILE) $(ARGS) --group dev -o requirements/dev.txt pyproject.toml
	@$(COMPILE) $(ARGS) -c requirements/dev.txt --group build -o requirements/build.txt
	@$(COMPILE) $(ARGS) -c requirements/dev.txt --group console -o requirements/console.txt
	@for s in $(SERVICES); do \
	  $(COMPILE) $(ARGS) -c requirements/dev.txt -o requirements/$$s.txt services/$$s/pyproject.toml || exit 1; done

release: $(VENV)/.ready  ## write VERSION=x.y.z wherever it stands, and close CHANGELOG's Unreleased section
	@$(BIN)/python -m deploy.release $(VERSION)

docs: $(VENV)/.ready  ## build the documentation into build/site, its generated pages renewed; a broken link fails
	@$(BIN)/python -m deploy.docs.generate
	@$(BIN)/zensical build --clean --strict

client: $(VENV)/.ready  ## renew the Python client's operations and types from the API's OpenAPI document
	@$(BIN)/python -m tools.client_source

screenshots: $(VENV)/.ready $(CONSOLE)  ## take pictures of the console (chromium, a Debian package): of docs/console, and of every screen into build/screenshots
	@$(BIN)/python -m tests.console.screenshots $(ARGS)

viewer: $(VENV)/.ready  ## renew the viewer of the API's reference from npm (VERSION=5.35.0; without it, the newest)
	@$(BIN)/python -m deploy.reference_viewer $(VERSION)

clean:  ## remove what the build made (not the state in .posthorn)
	@rm -rf $(VENV) $(TOOLS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache bench/results build \
	  services/console/web/node_modules services/console/src/posthorn_console/files
