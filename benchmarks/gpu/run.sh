#!/usr/bin/env bash
# Everything that needs a GPU, in under five minutes: OUT=folder benchmarks/gpu/run.sh
# Each part has a limit of its own; one that fails or hangs does not take the others along.
set -u
: "${OUT:?name a folder for the results}"
cd "$(dirname "$0")/../.."
mkdir -p "$OUT"
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
# The thread variables of replay/threads.py, set before any plugin loads numpy.
for name in OMP OPENBLAS MKL NUMEXPR TF; do export ${name}_NUM_THREADS=4; done
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
  nproc
  "$PY" -c 'import sys, torch; print(sys.version, torch.__version__, torch.cuda.get_device_name())'
}

# Whatever else is installed there stays out of it.
tests() {
  PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 "$PY" -m pytest -q -p pytest_timeout -p no:cacheprovider \
    -o filterwarnings=default tests/modern/engine
}

# Precisions compile side by side into one cache; nothing is timed meanwhile, so tests run too.
compile() {
  for precision in fp32 tf32 bf16 int8 fp8; do
    "$PY" -m modern bench --device cuda --precision $precision --mode compiled_graph --form shared --seconds 0 &
    "$PY" -m modern bench --device cuda --precision $precision --mode compiled --form plain --seconds 0 &
  done
  "$PY" -m modern bench --device cuda --precision bf16 --mode compiled_graph --form cached --seconds 0 &
  "$PY" -m modern bench --device cuda --precision bf16 --precision tf32 --mode fused_graph --form shared --seconds 0 &
  tests &
  wait
}

bench() { local out=$1; shift; "$PY" -m modern bench --device cuda --seconds 0.25 --out "$OUT/$out.json" "$@"; }

export -f facts tests compile bench
export OUT PY
part facts 20 bash -c facts
part eager 70 bash -c 'bench eager --form shared --mode eager --mode graph'
part compile 120 bash -c compile
part fused 30 bash -c 'bench fused --form shared --precision tf32 --precision bf16 --mode fused_graph'
part compiled 60 bash -c 'bench compiled --form shared --mode compiled --mode compiled_graph'
part plain 45 bash -c 'bench plain --form plain'
part cached 30 bash -c 'bench cached --form cached --precision bf16 --mode graph --mode compiled_graph'
cat "$LOG" | tail -c 9000
