"""caches.py: the compilers' caches: an empty folder for a run, filled by many processes at once before anything is timed."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PROCESSES = 12


def environment(folder):
    """Variables that put the caches of PyTorch, Triton, XLA and the driver into a folder."""
    return {"TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor", "TRITON_CACHE_DIR": f"{folder}/triton", "CUDA_CACHE_PATH": f"{folder}/driver",
            "TORCHINDUCTOR_COMPILE_THREADS": "1", "TORCHINDUCTOR_FX_GRAPH_CACHE": "1", "TORCHINDUCTOR_AUTOGRAD_CACHE": "1"}


class Caches:
    """Set for this process and those it starts, from before PyTorch is imported; gone at the end."""

    def __init__(self):
        self.given = os.environ.get("PLAIT_GPU_BENCH_CACHES")
        self.folder = self.given or tempfile.mkdtemp(prefix="plait-gpu-bench-")
        os.environ.update(environment(self.folder))
        self.running = []

    def fill(self, names, ids):
        """Starts warm.py in several processes, each with some of the cases; wait() for them."""
        shares = [ids[i::PROCESSES] for i in range(PROCESSES)]
        self.running = [subprocess.Popen([sys.executable, str(HERE / "warm.py"), ",".join(names), *share], stdout=subprocess.DEVNULL,
                                         stderr=subprocess.PIPE, text=True) for share in shares if share and names]

    def wait(self, seconds):
        """What they complained of."""
        said = []
        for process in self.running:
            try:
                said.append(process.communicate(timeout=seconds)[1])
            except subprocess.TimeoutExpired:
                process.kill()
                said.append("not done in time")
        # What was measured while twelve processes shared the device would choose badly: each kernel is measured again.
        for path in pathlib.Path(self.folder).rglob("*.best_config"):
            path.unlink()
        return [line for text in said for line in text.splitlines() if ": " in line][-20:]

    def remove(self):
        for process in self.running:
            process.kill()
            process.wait()
        if not self.given:
            shutil.rmtree(self.folder, ignore_errors=True)


def first_call(what, library, seconds=90):
    """first_call.py with caches of its own, which are empty."""
    with tempfile.TemporaryDirectory(prefix="plait-first-call-") as folder:
        env = os.environ | environment(folder) | {"JAX_ENABLE_COMPILATION_CACHE": "false", "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
                                                  "TF_CPP_MIN_LOG_LEVEL": "3"}
        env.pop("TORCHINDUCTOR_COMPILE_THREADS")
        args = [sys.executable, str(HERE / "first_call.py"), what, *([library] if library else [])]
        try:
            done = subprocess.run(args, env=env, capture_output=True, text=True, timeout=seconds)
            return json.loads(done.stdout.strip().splitlines()[-1])
        except (subprocess.TimeoutExpired, IndexError, json.JSONDecodeError):
            return {"error": "no answer" if "done" not in locals() else done.stderr.strip().splitlines()[-1:]}
