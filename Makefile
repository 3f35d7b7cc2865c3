# The two commands of the README are `make demo` and `make test`; the rest is for people who change the code.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: demo test check format scenarios test-real test-jenkins bench lock clean
.DEFAULT_GOAL := test

# The modules are compiled once, before the tests: the processes that tests start write no .pyc files (tests/conftest.py).
COMPILE = $(BIN)/python -m compileall -q shuttle bldst jenkins_pipelines jenkins_emulator tests

# Half of a test's time is waiting, so there are twice as many workers as the smallest machine has cores. Six took the same
# time as four.
TESTS = env -u JENKINS_URL tests/in_memory $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder \
  tests/unit tests/contract tests/controller tests/golden tests/service

PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
# uv takes less than half of pip's time. It does not read pip's settings: if it cannot install, for instance because the
# package index is only named there, pip does.
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r $(1) \
  || $(PIP) --require-hashes -r $(1)

# The file .installed is newer than the pins that were installed, so a second run installs nothing.
$(VENV)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.txt >$(VENV)/uv.txt
	$(PIP) --require-hashes -r $(VENV)/uv.txt
	$(call INSTALL,requirements.txt)
	$(PIP) --no-build-isolation --no-deps -e .
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(call INSTALL,requirements-dev.txt)
	touch $@

# The mock Kafka broker, PostgreSQL and the S3 server are installed with the tests' dependencies.
demo: $(VENV)/.installed$(if $(findstring --kafka,$(ARGS))$(findstring --replicas,$(ARGS)),-dev)
	@$(BIN)/shuttle demo $(ARGS)

test: $(VENV)/.installed-dev
	@# Without JENKINS_URL, which would run the conformance suite against that server; `make test-jenkins` does so.
	$(COMPILE)
	$(TESTS) -m "not slow" $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

scenarios: $(VENV)/.installed-dev
	$(COMPILE)
	@# On two cores, 77 of these tests took 351 s with three workers, and 342 s with five. Those with the mark `long` run up
	@# to 200 builds: with three workers, other tests missed their time limits.
	env -u JENKINS_URL TESTS_SHELLS="dash bash busybox" tests/in_memory $(BIN)/python -m pytest \
	  -n $(if $(findstring --long,$(ARGS)),2,3) --dist loadfile tests/scenarios $(ARGS)
	@# The tests with the mark `slow`, which `make test` leaves out: each takes more than a second.
	$(TESTS) -m slow $(ARGS)
	@# The tests of the supervisor in the shells that `make test` leaves out.
	env -u JENKINS_URL TESTS_SHELLS="bash busybox" tests/in_memory $(BIN)/python -m pytest -n 6 --dist worksteal tests/unit/pipelines $(ARGS)
	@# With ARGS=--long also more examples of each property than in `make test`, and the tests with the mark `long`.
	$(if $(findstring --long,$(ARGS)),env -u JENKINS_URL $(BIN)/python -m pytest -n 2 --hypothesis-profile=thorough \
	  --timeout 300 tests/unit/logs tests/unit/sources/test_generated_archives.py \
	  tests/unit/jenkins_emulator/test_emulator_groovy.py $(ARGS))
	@# Kills at seeded moments and in the middle of a log also on PostgreSQL; with --long at each transition.
	env -u JENKINS_URL TESTS_DATABASE=postgresql tests/in_memory $(BIN)/python -m pytest -n 2 --dist loadfile tests/scenarios/test_kill.py \
	  tests/scenarios/test_seeded_kills.py -k "not twenty_kills and not three_replicas \
	  $(if $(findstring --long,$(ARGS)),,and (many_small_builds or middle_of_the_log or is_delivered))" $(ARGS)

test-real: $(VENV)/.installed-dev
	tests/real/install $(findstring --long,$(ARGS))
	env -u JENKINS_URL $(BIN)/python -m pytest -n 2 --dist loadfile tests/real $(ARGS)
	@# Debian's PostgreSQL instead of the wheel's.
	env -u JENKINS_URL TESTS_POSTGRES_BIN="$$(tests/real/postgres_bin)" $(BIN)/python -m pytest tests/contract/store \
	  tests/unit/store/test_postgres.py $(ARGS)

# Replays the recorded exchanges against the server at JENKINS_URL, and compares the meaning of its answers.
test-jenkins: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/contract/jenkins $(ARGS)

bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench $(ARGS)

# The lock contains only pins and hashes, no address of a package index.
lock: $(VENV)/.installed-dev
	$(BIN)/uv pip compile --quiet pyproject.toml --group build --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements.txt
	$(BIN)/uv pip compile --quiet pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements-dev.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
