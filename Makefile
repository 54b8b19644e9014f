# Two commands do all the set-up: `make demo` and `make test`. A second call redoes nothing.
PYTHON ?= python3
PY := .venv/bin/python
export OMP_NUM_THREADS := 1
export TF_CPP_MIN_LOG_LEVEL := 2
export TF_ENABLE_ONEDNN_OPTS := 0

DAY := 2019-11-30
SCORER_SOURCES := CMakeLists.txt $(wildcard cpp_serving/src/* cpp_serving/include/cpp_serving/* cpp_serving/bindings/*)
CPP_SOURCES := $(wildcard cpp_serving/src/*.cc cpp_serving/src/*.h cpp_serving/include/cpp_serving/*.h cpp_serving/bindings/*.cc cpp_serving/bindings/*.h tests/cpp/*.cc tests/cpp/*.h tests/cpp/fuzz/*.cc tests/cpp/fuzz/*.h examples/cpp/*.cc)

.PHONY: help build demo ladder ladder-movielens ladder-synthetic test test-python test-native test-cpp test-threads build-fuzz fuzz long lint types format bench bench-scorer bench-instructions bench-quality clean
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# --- environment -------------------------------------------------------------------------
# Everything is pinned in constraints.txt; obp and recbole are data here (their csv files are read,
# they are never imported), so their own requirements stay out.
.venv/.installed: constraints.txt
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(PY) -m pip install --quiet --disable-pip-version-check -r constraints.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps obp==0.4.1 recbole==1.2.1
	@touch $@

.venv/.built: .venv/.installed setup.py pyproject.toml $(SCORER_SOURCES)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

build: .venv/.built ## the environment and the C++ extension, in .venv/

# --- the demo: each step is made once -----------------------------------------------------
# Of another log the same is made in a folder of its own, as `make ladder-movielens` does.
ROOT :=
LOG := obd
LEGACY_FLAGS :=
MODERN_FLAGS :=
BRIDGE_FLAGS :=
CLIMB_FLAGS :=

$(ROOT)logs/.imported: .venv/.built $(wildcard replay/logs/*.py)
	.venv/bin/parity logs import $(LOG) --out $(@D)
	@touch $@

$(ROOT)artifacts/legacy/manifest.json: $(ROOT)logs/.imported $(wildcard legacy/*.py legacy/feature_sets/*.json)
	$(PY) -m legacy train --logs $(ROOT)logs/ --out $(@D) $(LEGACY_FLAGS)
	@touch $@

$(ROOT)artifacts/cpp/scorer.bin: $(ROOT)artifacts/legacy/manifest.json
	$(PY) -m legacy export --artifact $(ROOT)artifacts/legacy --out $@
	@touch $@

$(ROOT)artifacts/onnx/trees.onnx: $(ROOT)artifacts/legacy/manifest.json
	$(PY) -m legacy export-onnx --artifact $(ROOT)artifacts/legacy --out $@
	@touch $@

$(ROOT)artifacts/modern/manifest.json: $(ROOT)artifacts/legacy/manifest.json $(wildcard modern/features/*.py modern/training/*.py modern/transformer/*.py)
	$(PY) -m modern train --logs $(ROOT)logs/ --features $(ROOT)artifacts/legacy/features.json --out $(@D) $(MODERN_FLAGS)
	@touch $@

demo: artifacts/cpp/scorer.bin artifacts/onnx/trees.onnx artifacts/modern/manifest.json ## the main job, end to end, on real logged data
	$(PY) examples/demo.py --date $(DAY)

# --- the ladder: one change a rung -----------------------------------------------------------
TRAIN_BRIDGE := $(PY) -m modern train-bridge --logs $(ROOT)logs/ --legacy $(ROOT)artifacts/legacy $(BRIDGE_FLAGS)

$(ROOT)artifacts/bridge_untrained/bridge.json: $(ROOT)artifacts/legacy/manifest.json $(wildcard modern/bridge/*.py)
	$(TRAIN_BRIDGE) --untrained --out $(@D)
	@touch $@

$(ROOT)artifacts/bridge/bridge.json: $(ROOT)artifacts/legacy/manifest.json $(wildcard modern/bridge/*.py)
	$(TRAIN_BRIDGE) --out $(@D)
	@touch $@

$(ROOT)artifacts/modern_%/manifest.json: $(ROOT)artifacts/modern/manifest.json $(wildcard modern/export/*.py)
	$(PY) -m modern export --format $* --artifact $(ROOT)artifacts/modern --out $(@D)
	@touch $@

RUNGS := $(addprefix $(ROOT)artifacts/,cpp/scorer.bin bridge_untrained/bridge.json bridge/bridge.json \
  $(foreach format,torch onnx aoti,modern_$(format)/manifest.json))

# Its paths are relative to it, so in another folder it speaks of that folder's log and artifacts.
ifneq ($(ROOT),)
$(ROOT)parity.yaml: parity.yaml
	mkdir -p $(ROOT)
	cp $< $@
endif

ladder: $(ROOT)parity.yaml $(RUNGS) ## every rung of the migration that this machine can run, in one table
	.venv/bin/parity ladder --config $(ROOT)parity.yaml --date $(DAY) $(CLIMB_FLAGS); code=$$?; test $$code -eq 0 -o $$code -eq 3

# A log with histories: the transformer and the bridge's read steps. The day is the fullest one after
# enough others to learn from; four epochs show the rungs, quality is measured elsewhere.
QUALITY := benchmarks/quality/variants
ladder-movielens: HELD_OUT := --held-out 1998-03-27:1998-03-30
ladder-movielens: ## the same rungs on MovieLens, whose users have histories
	$(MAKE) --no-print-directory ladder ROOT=ladders/movielens/ LOG=movielens DAY=1998-03-31 \
	  LEGACY_FLAGS="--features movielens $(HELD_OUT)" \
	  MODERN_FLAGS="--history modern/feature_sets/movielens.json --variant $(QUALITY)/movielens.json $(HELD_OUT) --epochs 4" \
	  BRIDGE_FLAGS="--history modern/feature_sets/movielens.json --variant $(QUALITY)/movielens.json $(HELD_OUT) --epochs 4"

ladder-synthetic: ## the same on a synthetic log: four tasks; in bf16 (rung 7) so short a training moves too far
	$(MAKE) --no-print-directory ladder ROOT=ladders/synthetic/ DAY=2026-01-10 CLIMB_FLAGS="--rungs 0-6" \
	  LOG="synthetic --days 6 --requests 800 --candidates 20 --seed 7" LEGACY_FLAGS="--features synthetic" \
	  MODERN_FLAGS="--history modern/feature_sets/synthetic.json --variant $(QUALITY)/synthetic.json --epochs 3" \
	  BRIDGE_FLAGS="--history modern/feature_sets/synthetic.json --epochs 3"

# --- checks -------------------------------------------------------------------------------
test: .venv/.built ## every test that runs on this machine
	$(MAKE) --no-print-directory -j2 test-python test-native

test-python: .venv/.built
	$(PY) -m pytest $(PYTEST_ARGS)

# Beside Python's, which take one core and longer; what they print would stand between.
test-native: .venv/.installed
	@mkdir -p build
	@nice -n 5 $(MAKE) --no-print-directory -j1 test-cpp test-threads > build/native_tests.log 2>&1 \
	  || { cat build/native_tests.log; exit 1; }
	@grep 'tests passed' build/native_tests.log

test-cpp: .venv/.installed ## the scorer's own tests, under sanitizers
	.venv/bin/cmake --log-level=WARNING -S . -B build/sanitized -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/.venv/bin/ninja \
	  -DCMAKE_BUILD_TYPE=Debug -DCPP_SERVING_EXTENSION=OFF -DCPP_SERVING_TESTS=ON -DCPP_SERVING_SANITIZE=ON
	.venv/bin/cmake --build build/sanitized
	.venv/bin/ctest --test-dir build/sanitized --output-on-failure

test-threads: .venv/.installed ## the scorer's threaded parts, under the thread sanitizer
	.venv/bin/cmake --log-level=WARNING -S . -B build/threads -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/.venv/bin/ninja \
	  -DCMAKE_BUILD_TYPE=Release -DCPP_SERVING_EXTENSION=OFF -DCPP_SERVING_TESTS=ON -DCPP_SERVING_SANITIZE_THREADS=ON
	.venv/bin/cmake --build build/threads --target forest_test boosted_trees_test
	TSAN_OPTIONS=die_after_fork=0 .venv/bin/ctest --test-dir build/threads --output-on-failure -R 'forest_test|boosted_trees_test'

# libFuzzer comes with clang: Debian's packages clang, libclang-rt-14-dev, libfuzzer-14-dev.
FUZZ := $(shell command -v clang++)
build-fuzz: .venv/.built
	.venv/bin/cmake --log-level=WARNING -S . -B build/fuzz -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/.venv/bin/ninja \
	  -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=clang++ -DCPP_SERVING_EXTENSION=OFF -DCPP_SERVING_FUZZ=ON
	.venv/bin/cmake --build build/fuzz

fuzz: $(if $(FUZZ),build-fuzz) ## every reader of model files on broken input, 60 s each, two at once; needs clang
	$(if $(FUZZ),$(PY) -m benchmarks.fuzz.run --at-once 2,@echo "fuzz: skipped, there is no clang++ on this machine")

long: $(if $(FUZZ),build-fuzz) .venv/.built ## ten million rows and executions a reader; resumable
	$(PY) -m benchmarks.exactness.run --rows 10000000
	$(if $(FUZZ),$(PY) -m benchmarks.fuzz.run --seconds 120 --until 10000000 --record,@echo "fuzz: skipped, there is no clang++ on this machine")

lint: .venv/.built ## style and import arrows
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	.venv/bin/clang-format --dry-run --Werror $(CPP_SOURCES)

types: .venv/.built ## mypy, strict
	.venv/bin/mypy

format: .venv/.installed ## rewrite the sources in the project's style
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .
	.venv/bin/clang-format -i $(CPP_SOURCES)

bench: artifacts/cpp/scorer.bin ## a day's replay, timed and profiled; figures go to benchmarks/
	$(PY) benchmarks/replay_day/run.py --date $(DAY)


# The peers, beside the tested environment: what is pinned there is not installed again.
BENCH_PY := build/bench_venv/bin/python
build/bench_venv/.installed: .venv/.built benchmarks/scorer/requirements.txt
	test -x $(BENCH_PY) || $(PY) -m venv build/bench_venv
	echo $(CURDIR)/.venv/lib/python3*/site-packages > $$(echo build/bench_venv/lib/python3*/site-packages)/tested.pth
	$(BENCH_PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -r benchmarks/scorer/requirements.txt
	@touch $@

bench-scorer: build/bench_venv/.installed ## the scorer against its peers, interleaved; trains models and compiles peers once
	env -u OMP_NUM_THREADS PYTHONPATH=$(CURDIR) $(BENCH_PY) benchmarks/scorer/run.py
	$(MAKE) --no-print-directory bench-instructions

# Counted by valgrind (Debian's package of that name), which no other load changes.
VALGRIND := $(shell command -v valgrind)
bench-instructions: .venv/.built ## the scorer's instructions a row, by callgrind
	.venv/bin/cmake --log-level=WARNING -S . -B build/library -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/.venv/bin/ninja \
	  -DCMAKE_BUILD_TYPE=Release -DCPP_SERVING_EXTENSION=OFF
	.venv/bin/cmake --build build/library
	$(if $(VALGRIND),PYTHONPATH=$(CURDIR) $(PY) benchmarks/scorer/instructions.py --library build/library/libcpp_serving.a,@echo "bench-instructions: skipped, there is no valgrind on this machine")

clean: ## everything that was built, trained or replayed; the environment stays
	rm -rf build logs artifacts ladders runs .cache .venv/.built
