"""peers_jax.py: XLA. The work is done by jax_server.py in a process of its own; here are its turns.

Time is the wall time of queued calls, whose ends nobody waits for; where the host is slower than the device, which shows
in that the device is busy for less, it is the time that the device was busy, which leaves out the gaps and flatters XLA.
"""
import json
import os
import pathlib
import subprocess
import sys

from .contestant import Absent
from .timing import quartiles

ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.4", "TF_CPP_MIN_LOG_LEVEL": "3",
               "JAX_ENABLE_COMPILATION_CACHE": "false"}


class Turns:
    """As timing.Graphed: round(), found()."""

    def __init__(self, jax):
        self.jax, self.samples, self.calls, self.failed = jax, [], 0, None

    def round(self, seconds):
        if self.failed:
            return
        try:
            answer = self.jax.ask("round", seconds=seconds)
        except (Absent, RuntimeError) as e:
            self.failed = e
            return
        self.samples += answer["us"]
        self.calls = answer["calls"]

    def found(self):
        if self.failed:
            raise self.failed
        median, low, high, least = quartiles(self.samples)
        busy = self.jax.ask("busy")
        scale, note = 1, {"wall_us": round(median, 3), "busy_us": busy["busy_us"]}
        if busy["busy_us"] and median < 150 and busy["busy_us"] < 0.93 * median:
            scale, note["note"] = busy["busy_us"] / median, "the time that the device was busy: the host is slower"
        return {"us": round(median * scale, 3), "q1": round(low * scale, 3), "q3": round(high * scale, 3), "least": round(least * scale, 3),
                "samples": len(self.samples), "calls": self.calls, "kernels": busy["kernels"], **note}


class Jax:
    name, strict = "jax", False

    def __init__(self):
        script = pathlib.Path(__file__).parent / "jax_server.py"
        self.process = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        text=True, env=os.environ | ENVIRONMENT)
        self.seconds = {}

    def start_compiling(self, ids):
        """Has all compiled while other things are done; begun() waits for it."""
        self.send("version")
        self.send("compile", ids=ids)

    def begun(self):
        self.version = self.receive()["version"]
        self.seconds = self.receive()["seconds"]

    def send(self, what, **more):
        try:
            print(json.dumps({"do": what, **more}), file=self.process.stdin, flush=True)
        except OSError:
            raise Absent("JAX's process has ended") from None

    def receive(self):
        line = self.process.stdout.readline()
        if not line:
            raise Absent("JAX is not here, or its process has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def ask(self, what, **more):
        self.send(what, **more)
        return self.receive()

    def ready(self, work):
        return self.ask("ready", case=work.case.id, sets=work.sets)

    def close(self):
        self.process.kill()
        self.process.wait()
