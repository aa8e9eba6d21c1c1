"""supervise.py: the run in a process of its own, which a kernel can take down with it: then another goes on behind the case.

A kernel that reads where it must not leaves the device's context unusable, one that never ends leaves its process waiting.
Either costs its case and nothing else.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

LOST = 9                          # exit status: the device is gone, the case is the last that was begun
SILENT = 150                      # seconds without a line after which a process hangs
RESTARTS = 6


def last_begun(path):
    begun = None
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            found = json.loads(line)
            begun = found["case"] if found["kind"] == "begin" else begun
    return begun


def wait(process, path):
    """The exit status, or LOST where the process says nothing any more."""
    size, since = -1, time.monotonic()
    while process.poll() is None:
        time.sleep(0.2)
        now = os.path.getsize(path)
        if now != size:
            size, since = now, time.monotonic()
        if time.monotonic() - since > SILENT:
            process.kill()
            process.wait()
            return LOST
    return LOST if process.returncode < 0 else process.returncode


def note(path, **line):
    with open(path, "a", encoding="utf-8") as out:
        print(json.dumps(line), file=out)


def run(script, total, out):
    """Runs the script with --inside until it has come to its end; the worst exit status."""
    started, after, lost = time.monotonic(), None, 0
    with tempfile.TemporaryDirectory(prefix="plait-gpu-bench-") as folder:
        path = out or f"{folder}/lines"
        open(path, "w", encoding="utf-8").close()
        env = os.environ | {"PLAIT_GPU_BENCH_CACHES": f"{folder}/caches"}
        while True:
            left = ["--total", str(max(1, int(total - (time.monotonic() - started))))] if total else []
            args = [sys.executable, script, *sys.argv[1:], "--out", path, *left, "--inside", *(["--after", after] if after else [])]
            status = wait(subprocess.Popen(args, env=env), path)
            begun = last_begun(path)
            if status != LOST or begun in (None, after) or lost == RESTARTS:
                break
            after, lost = begun, lost + 1
            note(path, kind="error", case=after, contestant="suite", error="the process was lost in this case")
        if not out:
            print(open(path, encoding="utf-8").read(), end="")
    return 1 if lost else status
