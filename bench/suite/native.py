"""native.py: compiles and loads ceiling.c and hand.c for this machine."""
import ctypes as c
import hashlib
import pathlib
import shutil
import subprocess

BENCH = pathlib.Path(__file__).resolve().parent.parent
FOLDER = BENCH.parent / "build" / "bench-native"
FLAGS = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-Wno-psabi"]


def build(name):
    """The library made of bench/NAME.c, compiled again when the sources, the compiler or the machine changed. By GCC where it
    is: hand.c asks for its shuffles."""
    cc = shutil.which("gcc") or "cc"
    sources = [BENCH / f"{name}.c", BENCH / "vector.h"]
    version = subprocess.run([cc, "--version"], capture_output=True, text=True, check=True).stdout
    cpu = pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    model = [l for l in cpu.splitlines() if l.startswith(("model name", "flags"))]
    key = hashlib.sha256("".join([version, *FLAGS, *model, *(s.read_text() for s in sources)]).encode()).hexdigest()[:12]
    library = FOLDER / f"lib{name}-{key}.so"
    if not library.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        made = library.with_suffix(".tmp")
        done = subprocess.run([cc, *FLAGS, str(sources[0]), "-o", str(made), "-lm"], capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"{name}.c does not compile: {done.stderr[:300]}")
        made.rename(library)
    return c.CDLL(str(library)), version.splitlines()[0]


class Ceiling:
    """Copies and reads in several ways. ways(kind, program) are what the case's ceiling is the best of."""

    def __init__(self, threads):
        self.lib, self.compiler = build("ceiling")
        self.threads = threads
        self.lib.copy_name.restype = self.lib.read_name.restype = c.c_char_p
        self.lib.read_all.restype = c.c_float
        self.lib.touch.argtypes = [c.c_void_p, c.c_size_t]
        self.lib.set_threads(threads)

    def touch(self, address, size):
        self.lib.touch(address, size)

    def names(self, kind):
        ask, found = getattr(self.lib, f"{kind}_name"), []
        while name := ask(len(found)):
            found.append(name.decode())
        return found

    def call(self, kind, way, alone, x, y):
        """A function that copies array x to y, or reads x."""
        n = c.c_size_t(x.nbytes // 4)
        px, py = c.c_void_p(x.ctypes.data), c.c_void_p(y.ctypes.data)
        if kind == "copy":
            f, args = self.lib.copy, (c.c_int(way), c.c_int(alone), px, py, n)
        else:
            f, args = self.lib.read_all, (c.c_int(way), c.c_int(alone), px, n)
        return lambda: f(*args)


class Hand:
    def __init__(self, threads):
        self.lib, self.compiler = build("hand")
        self.lib.set_threads(threads)

    def kernel(self, name):
        return getattr(self.lib, f"hand_{name}", None)
