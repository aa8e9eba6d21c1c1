"""driver.py: kernels in CUDA C of one's own, through NVRTC and the driver by ctypes, in the context that is current.

    module = Module(text, device_arch())
    module.launch("name", grid, block, stream, address, count)       # Python ints are 64-bit, I32 and F32 narrower
"""
import ctypes as c
import glob
import os
import pathlib
import sys

I32, F32, I64 = c.c_int32, c.c_float, c.c_int64
OPTIONS = ["--std=c++17", "--device-as-default-execution-space"]


class Failed(Exception):
    pass


def library(names, places):
    for name in names:
        try:
            return c.CDLL(name)
        except OSError:
            pass
    for place in places:
        for path in sorted(glob.glob(place)):
            try:
                return c.CDLL(path)
            except OSError:
                pass
    raise Failed(f"none of {', '.join(names)} can be loaded")


def wheels(pattern):
    return [str(pathlib.Path(folder) / "nvidia" / "*" / "lib" / pattern) for folder in sys.path if folder]


def nvrtc():
    names = [os.environ["PLAIT_NVRTC"]] if os.environ.get("PLAIT_NVRTC") else []
    return library([*names, "libnvrtc.so.13", "libnvrtc.so", "libnvrtc.so.12"], [*wheels("libnvrtc.so*"), "/usr/local/cuda*/lib64/libnvrtc.so*"])


def driver():
    names = [os.environ["PLAIT_CUDA_DRIVER"]] if os.environ.get("PLAIT_CUDA_DRIVER") else []
    return library([*names, "libcuda.so.1"], [])


def good(status, what):
    if status:
        raise Failed(f"{what} failed with {status}")


def make_current():
    """The first device's primary context, where none is current: PyTorch has made it so, Plait leaves what was."""
    cuda, context, device = driver(), c.c_void_p(), c.c_int()
    if not cuda.cuCtxGetCurrent(c.byref(context)) and context.value:
        return
    good(cuda.cuInit(0) or cuda.cuDeviceGet(c.byref(device), 0), "the driver")
    good(cuda.cuDevicePrimaryCtxRetain(c.byref(context), device), "cuDevicePrimaryCtxRetain")
    good(cuda.cuCtxSetCurrent(context), "cuCtxSetCurrent")


def compiled(text, arch, options=()):
    """Machine code of CUDA C, and the compiler's log."""
    rtc, program, size = nvrtc(), c.c_void_p(), c.c_size_t()
    good(rtc.nvrtcCreateProgram(c.byref(program), text.encode(), b"marks.cu", 0, None, None), "nvrtcCreateProgram")
    args = [f"--gpu-architecture={arch}", *OPTIONS, *options]
    status = rtc.nvrtcCompileProgram(program, len(args), (c.c_char_p * len(args))(*(a.encode() for a in args)))
    rtc.nvrtcGetProgramLogSize(program, c.byref(size))
    log = c.create_string_buffer(size.value + 1)
    rtc.nvrtcGetProgramLog(program, log)
    if status:
        raise Failed(f"the kernels written by hand do not compile: {log.value.decode()}")
    good(rtc.nvrtcGetCUBINSize(program, c.byref(size)), "nvrtcGetCUBINSize")
    code = c.create_string_buffer(size.value)
    good(rtc.nvrtcGetCUBIN(program, code), "nvrtcGetCUBIN")
    rtc.nvrtcDestroyProgram(c.byref(program))
    return code, log.value.decode()


class Module:
    def __init__(self, text, arch):
        self.cuda, self.handle, self.found = driver(), c.c_void_p(), {}
        make_current()
        code, self.log = compiled(text, arch)
        good(self.cuda.cuModuleLoadData(c.byref(self.handle), code), "cuModuleLoadData")

    def function(self, name):
        if name not in self.found:
            handle = c.c_void_p()
            good(self.cuda.cuModuleGetFunction(c.byref(handle), self.handle, name.encode()), name)
            self.found[name] = handle
        return self.found[name]

    def launch(self, name, grid, block, stream, *args):
        values = [a if isinstance(a, (c.c_int32, c.c_float)) else c.c_int64(a) for a in args]
        array = (c.c_void_p * max(1, len(values)))(*(c.cast(c.byref(v), c.c_void_p) for v in values))
        grid, block = ((*n, 1, 1)[:3] if isinstance(n, tuple) else (n, 1, 1) for n in (grid, block))
        good(self.cuda.cuLaunchKernel(self.function(name), *grid, *block, 0, c.c_void_p(stream), array, None), f"launch of {name}")


def graph_kernels(graph):
    """Nodes of a captured CUDA graph that are kernels, and others (a set or a copy of memory)."""
    cuda, count = driver(), c.c_size_t()
    good(cuda.cuGraphGetNodes(c.c_void_p(graph), None, c.byref(count)), "cuGraphGetNodes")
    nodes, kind = (c.c_void_p * max(1, count.value))(), c.c_int()
    good(cuda.cuGraphGetNodes(c.c_void_p(graph), nodes, c.byref(count)), "cuGraphGetNodes")
    kernels = 0
    for node in nodes[:count.value]:
        good(cuda.cuGraphNodeGetType(c.c_void_p(node), c.byref(kind)), "cuGraphNodeGetType")
        kernels += kind.value == 0
    return kernels, count.value - kernels
