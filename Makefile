# Needs Python 3.10 to 3.13 (with venv and pip) and make; everything else is installed below .venv
# (what runs) and .tools and .tox (what tests).

PYTHON ?= python3
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK = 1

# pip checks the hashes that are in these files.
INSTALL := pip install --quiet --require-hashes --requirement
TOX := .tools/bin/tox

.DEFAULT_GOAL := help
.PHONY: help run install test test-long lint types docs package schema changelog lock base-image image \
        clean FORCE

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

run: .venv/installed ## run everything in a sandbox, here: Ctrl-C stops it
	@exec .venv/bin/twistd --pidfile= -n sbm --sandbox

install: .venv/installed ## make .venv, with the daemon and its sandbox

test: $(TOX) ## run the test suite; ARGS="tests/store -k claim" runs a part
	@rm -rf build
	@$(TOX) run -q -e py $(if $(ARGS),-- $(ARGS))

test-long: $(TOX) ## run the test suite with its long forms, and measure the coverage
	@rm -rf build
	@$(TOX) run -q -e long $(if $(ARGS),-- $(ARGS))

lint types docs package schema: $(TOX)
	@rm -rf build
	@$(TOX) run -q -e $@

lint: ## check the style, and look for what is not secure
types: ## check the types
docs: ## build the manual into docs/_build/html
package: ## build dist/, try the wheel in an empty environment, and list what is in it

schema: ## write sql/schema.sql again, after a migration was added

changelog: $(TOX) ## show what the next release brings; VERSION=0.1.0 writes it into CHANGELOG.rst
	@$(TOX) run -q -e changelog $(if $(VERSION),-- --version $(VERSION) --yes)

lock: $(TOX) ## write requirements/ again, with the newest versions
	@$(TOX) run -q -e lock

base-image: ## write the digest of today's base image into the Dockerfile
	@base=$$(sed -n 's/^ARG BASE_IMAGE=\([^@]*\).*/\1/p' Dockerfile) \
	 && digest=$$(docker buildx imagetools inspect "$$base" --format '{{.Manifest.Digest}}') \
	 && echo "$$digest" | grep -Eqx 'sha256:[0-9a-f]{64}' \
	 && sed "s|^ARG BASE_IMAGE=.*|ARG BASE_IMAGE=$$base@$$digest|" Dockerfile > Dockerfile.new \
	 && mv Dockerfile.new Dockerfile && grep '^ARG BASE_IMAGE=' Dockerfile

image: ## build the image; its base must have a digest
	@grep -Eq '^ARG BASE_IMAGE=[^@]+@sha256:[0-9a-f]{64}$$' Dockerfile \
	 || { echo 'The base of the image has no digest: run "make base-image" first.' >&2; exit 1; }
	@docker build --tag sbm --build-arg SBM_COMMIT=$$(git rev-parse HEAD) .

clean: ## remove the sandbox's data and what was built; the environments stay
	rm -rf var/sandbox build dist docs/_build sbm.egg-info .coverage htmlcov

# Installing again needs no network while the dependencies are those that are there: pip finds them
# all, and wheels are built with the setuptools of .venv. A stale build/ would ship deleted files.
.venv/installed: setup.py pyproject.toml requirements/build.txt requirements/sandbox.txt .venv/sources
	@rm -rf build
	@echo "Installing into .venv ..."
	@.venv/bin/$(INSTALL) requirements/build.txt
	@.venv/bin/$(INSTALL) requirements/sandbox.txt --no-build-isolation
	@.venv/bin/pip install --quiet --no-deps --use-pep517 --no-build-isolation .
	@rm -rf build
	@touch $@

# Changes whenever a file of the package changes, comes or goes. An environment that was moved, or
# whose Python is gone, is made again.
.venv/sources: FORCE
	@.venv/bin/pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@find sbm sql twisted/plugins -type f ! -name '*.pyc' ! -name dropin.cache \
	    -exec cksum {} + | LC_ALL=C sort > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(TOX): requirements/tox.txt
	@.tools/bin/pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .tools
	@.tools/bin/$(INSTALL) requirements/tox.txt
	@touch $@
