# The door: every target is a script in scripts/; `make help` lists them.
.DEFAULT_GOAL := build
.PHONY: build demo test which-python install bench bench-python soak asan tsan fuzz conformance lint docs wheels format clean help
PREFIX ?= /usr/local

build: ## the C library, the examples (build/release) and the package (.venv)
	@scripts/build.sh

demo: ## the main job on real input: word counts, in C, in Python, and by the standard library
	@scripts/demo.sh

test: ## every test: C, crash laboratory, Python, examples
	@scripts/test.sh

which-python: ## the interpreter in which the package is installed (use with -s)
	@scripts/which-python.sh

install: ## library, header, pkg-config file and the program mproc: make install PREFIX=/usr/local
	@scripts/install.sh '$(PREFIX)'

bench: ## the C benchmarks
	@scripts/bench.sh

bench-python: ## mproc beside the standard library, in Python; some rows: scripts/bench.sh python queue lock
	@scripts/bench.sh python

soak: ## eight processes at every primitive, then a pool's and an executor's workers, killed at random for SECONDS=60
	@scripts/soak.sh '$(SECONDS)'

asan: ## the C tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/sanitize.sh asan

tsan: ## the threaded C tests under ThreadSanitizer
	@scripts/sanitize.sh tsan

fuzz: ## each fuzz target for FUZZ_SECONDS=60 (clang)
	@scripts/fuzz.sh

conformance: ## CPython's own tests: make conformance [PY=3.14] [METHOD=spawn] [ONLY=_TestProcess,…] [SHADOW=folder]
	@scripts/setup.sh && .venv/bin/python tests/conformance/run.py \
	--python '$(PY)' --method '$(METHOD)' --only '$(ONLY)' --shadow '$(abspath $(or $(SHADOW),.shadow))'

docs: ## the manual, build/docs/html, and the man pages; needs Doxygen
	@scripts/docs.sh

wheels: ## an sdist, and wheels of it for each version of Python, for x86-64 and arm64, glibc 2.28 or later
	@scripts/wheels.sh

lint: ## formatting, clang-tidy, ruff, mypy, stubtest, pyright, shellcheck, the header as C11 and C++17
	@scripts/lint.sh

format: ## formats C and Python in place
	@scripts/lint.sh format

clean: ## removes build and .venv
	@rm -rf build .venv

help: ## this list
	@sed -n 's/^\([a-z-]*\): ## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name what; \
	do printf '  make %-13s %s\n' "$$name" "$$what"; done
