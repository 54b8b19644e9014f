#!/usr/bin/env bash
# Everything that needs a GPU, in about six minutes: OUT=folder benchmarks/gpu/run.sh (README.md).
# Each part has a limit of its own; one that fails or hangs does not take the others along.
set -u
: "${OUT:?name a folder for the results}"
cd "$(dirname "$0")/../.."
mkdir -p "$OUT"
export PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}$PWD PYTHONUNBUFFERED=1
# The thread variables of replay/threads.py, set before any plugin loads numpy.
for name in OMP OPENBLAS MKL NUMEXPR TF; do export ${name}_NUM_THREADS=2; done
export TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 TF_ENABLE_ONEDNN_OPTS=0 TF_CPP_MIN_LOG_LEVEL=2
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-/tmp/inductor} TORCHINDUCTOR_COMPILE_THREADS=3
PY=${PY:-python3}
LOG=$OUT/log.txt
: >"$LOG"

part() { # name, limit in seconds, command
  local name=$1 limit=$2 began=$SECONDS
  shift 2
  echo "== $name" >>"$LOG"
  timeout -k 5 "$limit" "$@" >>"$LOG" 2>&1
  echo "== $name: exit $?, $((SECONDS - began)) s" | tee -a "$LOG"
}

facts() {
  nvidia-smi
  "$PY" -c 'import sys, torch; print(sys.version, torch.__version__, torch.cuda.get_device_name())'
}

# Whatever else is installed there stays out of it.
tests() {
  PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 "$PY" -m pytest -q --tb=short -p pytest_timeout -p no:cacheprovider \
    --show-capture=no -o filterwarnings=default tests/modern/engine
}

bench() { local out=$1; shift; "$PY" -m modern bench --device cuda --seconds 0.25 --out "$OUT/$out.json" "$@"; }
compiled() { "$PY" -m modern bench --device cuda --seconds 0 "$@" 2>&1 | grep -v Warning; }

rung7() {
  if [ ! -d build/rung7/modern ]; then echo "no trained model in build/rung7: rung 7 is not judged"; return; fi
  "$PY" -m parity ladder --config benchmarks/gpu/rung7.yaml --date 2026-01-11 --format json >"$OUT/rung7.json"
  "$PY" - "$OUT/rung7.json" <<'EOF'
import json, sys
for one in json.load(open(sys.argv[1]))["rungs"]:
    metrics = {name: value["challenger"] for name, value in (one["figures"] or {}).get("metrics", {}).items()}
    print(one["reference"], "->", one["challenger"], one["verdict"], one["not_run"], one["error"], (one["figures"] or {}).get("gap"), metrics)
EOF
}

# Compiles side by side into one cache; nothing is timed meanwhile, so tests and rung 7 run too.
prepare() {
  for precision in fp32 tf32 bf16 int8 fp8; do
    compiled --precision $precision --mode compiled_graph --form shared &
  done
  compiled --precision fp32 --precision bf16 --mode compiled --form plain &
  compiled --precision bf16 --mode compiled_graph --form cached &
  compiled --precision bf16 --precision tf32 --mode fused_graph --form shared &
  tests >"$OUT/tests.txt" 2>&1 &
  rung7 &
  wait
  tail -n 40 "$OUT/tests.txt"
}

artifact() {
  bench artifact --artifact build/rung7/modern --like build/rung7/logs/date=2026-01-11 --form shared --mode graph
}

export -f facts tests bench compiled rung7 prepare artifact
export OUT PY
part facts 20 bash -c facts
part prepare 170 bash -c prepare
part fused 30 bash -c 'bench fused --form shared --precision tf32 --precision bf16 --mode fused_graph'
part compiled 60 bash -c 'bench compiled --form shared --mode graph --mode compiled_graph'
part plain 25 bash -c 'bench plain --form plain --precision fp32 --precision bf16'
part cached 25 bash -c 'bench cached --form cached --precision bf16 --mode graph --mode compiled_graph'
part artifact 30 bash -c artifact
part kernels 40 "$PY" benchmarks/gpu/profile_kernels.py
tail -c 11000 "$LOG"
