"""machine.py: what the figures were measured on."""
import datetime
import os
import pathlib
import platform
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def read(path, default=""):
    try:
        return pathlib.Path(path).read_text()
    except OSError:
        return default


def caches():
    """Bytes of each level of cache as the system tells, for one core: {"L1d": 32768, ...}."""
    found = {}
    for entry in sorted(pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind = read(entry / "type").strip()
        size = re.fullmatch(r"(\d+)([KM])", read(entry / "size").strip())
        if size and kind != "Instruction":
            name = f"L{read(entry / 'level').strip()}{'d' if kind == 'Data' else ''}"
            found[name] = int(size[1]) << {"K": 10, "M": 20}[size[2]]
    return found


def last_level():
    return max(caches().values(), default=32 << 20)


def load():
    return float(read("/proc/loadavg", "0").split()[0])


def memory():
    found = re.search(r"MemAvailable:\s+(\d+)", read("/proc/meminfo"))
    return int(found[1]) << 10 if found else 4 << 30


def revision():
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=10"], capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip() or "unknown"


def facts():
    cpu = re.search(r"model name\s*: (.*)", read("/proc/cpuinfo"))
    flags = set(re.findall(r"[^\s]+", (re.search(r"^flags\s*:(.*)", read("/proc/cpuinfo"), re.M) or [0, ""])[1]))
    return {"kind": "machine", "cpu": cpu[1].strip() if cpu else platform.processor(), "cores": len(os.sched_getaffinity(0)),
            "vectors": next((v for v in ("avx512f", "avx2", "sse4_2", "asimd") if v in flags), "unknown"),
            "caches": caches(), "memory_available": memory(), "load": load(),
            "huge_pages": read("/sys/kernel/mm/transparent_hugepage/enabled").strip(),
            "system": platform.platform(), "python": platform.python_version(),
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "revision": revision()}
