"""plait.py: a small binding of include/plait.h by ctypes, for the benchmarks.

    cx = Context(threads=2)
    entry = cx.entry("softmax.plait", text)
    run = entry.prepare(dims={"D": 4096})
    call = run.bind([x], [y])           # NumPy arrays, kept and reused; scratch memory is allocated once
    call()                              # one plait_launch

    device = Device(cx)                 # a GPU; memory is Buffer(address, shape, bytes), from device.alloc or anyone
    run = entry.prepare("cuda", dims={"D": 4096})
    call = run.launcher([(x, "f32")], [(y, "f32")], scratch, stream=lambda: stream)

Preparing and launching are apart, and a call builds no Python object. Failures raise PlaitError with the messages.
"""
import ctypes as c
import mmap
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_RANK = 8

# Number of each dtype in plait.h, by the name that programs use.
DTYPE = {"f64": 1, "f32": 2, "f16": 3, "bf16": 4, "f8e4m3": 5, "f8e5m2": 6, "i64": 7, "i32": 8, "i16": 9, "i8": 10,
         "u64": 12, "u32": 13, "u16": 14, "u8": 15, "bool": 17}
COMPILERS = {"auto": 0, "clang": 1, "cc": 2}

TIMING = c.CFUNCTYPE(None, c.c_void_p, c.c_char_p, c.c_double)


class Tensor(c.Structure):
    _fields_ = [("data", c.c_void_p), ("dtype", c.c_int), ("rank", c.c_int), ("extent", c.c_int64 * MAX_RANK),
                ("stride", c.c_void_p), ("bytes", c.c_size_t), ("format", c.c_char_p)]


class Dim(c.Structure):
    _fields_ = [("name", c.c_char_p), ("value", c.c_int64)]


class ContextOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("threads", c.c_int), ("compiler", c.c_int), ("cc", c.c_char_p),
                ("imports", c.c_int), ("reader", c.c_void_p), ("reader_user", c.c_void_p),
                ("max_source_bytes", c.c_size_t), ("ignore_environment", c.c_int), ("march", c.c_char_p)]


class CompileOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("timing", TIMING), ("user", c.c_void_p)]


class BuildOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("dims", c.POINTER(Dim)), ("ndims", c.c_size_t), ("disable", c.c_char_p),
                ("stop_after", c.c_char_p), ("dump_after", c.c_char_p), ("verify", c.c_int), ("check", c.c_int),
                ("no_fuse", c.c_int), ("dump", c.c_void_p), ("timing", TIMING), ("user", c.c_void_p), ("device", c.c_int),
                ("arch", c.c_char_p), ("dependent", c.c_int)]


class ExecInfo(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("target", c.c_char_p), ("compiler", c.c_char_p), ("nkernels", c.c_size_t),
                ("build_ms", c.c_double), ("text", c.c_char_p), ("device", c.c_char_p), ("arch", c.c_char_p),
                ("nvariants", c.c_size_t), ("nfunctions", c.c_size_t)]


class Function(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("name", c.c_char_p), ("dims", c.c_char_p), ("registers", c.c_int),
                ("shared_bytes", c.c_int), ("stack_bytes", c.c_int), ("spill_store_bytes", c.c_int),
                ("spill_load_bytes", c.c_int)]


class DeviceInfo(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("number", c.c_int), ("name", c.c_char_p), ("arch", c.c_char_p),
                ("multiprocessors", c.c_int), ("shared_bytes", c.c_int), ("driver", c.c_int), ("memory_bytes", c.c_size_t),
                ("free_bytes", c.c_size_t)]


class LaunchOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("scratch", c.c_void_p), ("scratch_bytes", c.c_size_t), ("stream", c.c_void_p),
                ("wait", c.c_int), ("ms", c.c_void_p), ("trust_pointers", c.c_int), ("replay", c.c_int)]


class Cost(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("bytes_unfused", c.c_double), ("bytes_fused", c.c_double),
                ("bytes_minimum", c.c_double), ("flops", c.c_double), ("seconds", c.c_double), ("nkernels", c.c_size_t),
                ("nremarks", c.c_size_t), ("nequations", c.c_int), ("machine", c.c_char_p), ("gbs", c.c_double),
                ("gflops", c.c_double), ("launch_us", c.c_double)]


class PlaitError(Exception):
    pass


def sized(struct):
    """A struct of the interface, zero but for its size."""
    made = struct()
    made.struct_size = c.sizeof(struct)
    return made


def build_options(dims, timing=None):
    """Build options with these dimensions, and the ctypes objects that must outlive them."""
    options = sized(BuildOptions)
    array = (Dim * len(dims))(*(Dim(name.encode(), value) for name, value in dims.items()))
    options.dims, options.ndims = array, len(dims)
    if timing:
        options.timing = timing
    return options, array


def built():
    """The library in the build folder; also where only the file was carried along, without the links to it."""
    found = sorted((ROOT / "build").glob("libplait.so*"), key=lambda p: len(p.name))
    return found[0] if found else ROOT / "build" / "libplait.so"


class Library:
    def __init__(self, path=None):
        self.path = pathlib.Path(path or os.environ.get("PLAIT_LIBRARY") or built())
        self.c = c.CDLL(str(self.path))
        for name in ("plait_version", "plait_status_text"):
            getattr(self.c, name).restype = c.c_char_p
        for name in ("plait_messages_free", "plait_free", "plait_exec_free", "plait_program_free", "plait_context_free",
                     "plait_report_free", "plait_device_close"):
            getattr(self.c, name).argtypes, getattr(self.c, name).restype = [c.c_void_p], None
        if self.c.plait_abi() != 1:
            raise PlaitError(f"{self.path}: another version of the interface")

    def version(self):
        return self.c.plait_version().decode()

    def render(self, messages):
        """Messages as text; frees them."""
        text = c.c_char_p()
        if not messages or self.c.plait_messages_render(messages, 2, c.byref(text), None):
            return ""
        said = text.value.decode()
        self.c.plait_free(text)
        self.c.plait_messages_free(messages)
        return said.strip()

    def call(self, name, *args):
        """A function whose last parameter is `messages`; raises what they say when it fails."""
        messages = c.c_void_p()
        status = getattr(self.c, name)(*args, c.byref(messages))
        said = self.render(messages)
        if status:
            raise PlaitError(said or f"{name}: {self.c.plait_status_text(status).decode()}")
        return said


class Context:
    def __init__(self, threads=0, compiler="auto", cc=None, march=None, library=None):
        self.lib = library or Library()
        options = sized(ContextOptions)
        options.threads, options.compiler = threads, COMPILERS[compiler]
        options.cc, options.march = cc and cc.encode(), march and march.encode()
        self.handle = c.c_void_p()
        self.lib.call("plait_context_create", c.byref(options), c.byref(self.handle))

    def entry(self, name, text, entry=None, timing=None):
        return Entry(self, name, text, entry, timing)

    def __del__(self):
        if getattr(self, "handle", None):
            self.lib.c.plait_context_free(self.handle)


class Entry:
    def __init__(self, cx, name, text, entry, timing):
        self.lib, data = cx.lib, text.encode()
        options = sized(CompileOptions)
        if timing:
            options.timing = timing
        self.program, self.handle = c.c_void_p(), c.c_void_p()
        self.lib.call("plait_compile", cx.handle, name.encode(), data, c.c_size_t(len(data)), c.byref(options),
                      c.byref(self.program))
        self.lib.call("plait_program_find", self.program, entry and entry.encode(), c.byref(self.handle))

    def prepare(self, target="c", dims={}, timing=None):
        options, _keep = build_options(dims, timing)
        handle = c.c_void_p()
        self.lib.call("plait_prepare", self.handle, target.encode(), c.byref(options), c.byref(handle))
        return Exec(self, handle)

    def emit(self, stage, dims={}, timing=None):
        """The program at a stage, as text."""
        options, _keep = build_options(dims, timing)
        text = c.c_char_p()
        self.lib.call("plait_emit", self.handle, stage.encode(), c.byref(options), c.byref(text), None)
        shown = text.value.decode()
        self.lib.c.plait_free(text)
        return shown

    def cost(self, dims):
        """What plait_explain counts."""
        options, _keep = build_options(dims)
        report, cost = c.c_void_p(), sized(Cost)
        self.lib.call("plait_explain", self.handle, c.byref(options), c.byref(report))
        self.lib.c.plait_report_cost(report, c.byref(cost))
        found = {n: getattr(cost, n) for n in ("bytes_unfused", "bytes_fused", "bytes_minimum", "flops", "nkernels")}
        self.lib.c.plait_report_free(report)
        return found

    def __del__(self):
        if getattr(self, "program", None):
            self.lib.c.plait_program_free(self.program)


class Exec:
    def __init__(self, entry, handle):
        self.lib, self.entry, self.handle = entry.lib, entry, handle
        info = sized(ExecInfo)
        self.lib.c.plait_exec_get(handle, c.byref(info))
        self.compiler = (info.compiler or b"none").decode()
        self.nkernels, self.build_ms = info.nkernels, info.build_ms
        self.text = (info.text or b"").decode()

    def functions(self):
        """What each kernel on the GPU takes: registers, shared memory, spills. Those compiled so far."""
        info, found = sized(ExecInfo), []
        self.lib.c.plait_exec_get(self.handle, c.byref(info))
        self.compiler, self.nkernels, self.build_ms = (info.compiler or b"none").decode(), info.nkernels, info.build_ms
        for i in range(info.nfunctions):
            f = sized(Function)
            self.lib.c.plait_exec_function(self.handle, c.c_size_t(i), c.byref(f))
            found.append({"name": f.name.decode(), "registers": f.registers, "shared": f.shared_bytes, "stack": f.stack_bytes,
                          "spills": f.spill_store_bytes + f.spill_load_bytes})
        return found

    def scratch(self, tensors, n):
        size, align = c.c_size_t(), c.c_size_t()
        self.lib.call("plait_exec_scratch", self.handle, tensors, c.c_size_t(n), c.byref(size), c.byref(align))
        return size.value

    def bind(self, params, results):
        """A function without arguments that launches on these buffers. Each is an (array, dtype) pair."""
        ins, outs = tensors(params), tensors(results)
        options = sized(LaunchOptions)
        size = self.scratch(ins, len(params))
        memory = mmap.mmap(-1, max(size, 1))              # pages, so aligned to what any kernel asks for
        options.scratch, options.scratch_bytes = c.addressof(c.c_char.from_buffer(memory)), size
        launch, lib = self.lib.c.plait_launch, self.lib
        args = (self.handle, ins, c.c_size_t(len(params)), outs, c.c_size_t(len(results)), c.byref(options))
        keep, silent = (params, results, memory, options, self), (*args, None)

        def call():
            if launch(*silent):
                lib.call("plait_launch", *args)           # once more, for the message
        call.keep, call.scratch_bytes = keep, size
        return call

    def launcher(self, params, results, scratch, stream):
        """The same on a GPU, without waiting: on the stream that stream() says, with `scratch` as scratch memory (None: of
        the library's). Tensors are Buffers, scalars NumPy arrays of rank 0."""
        ins, outs, options = tensors(params), tensors(results), sized(LaunchOptions)
        options.trust_pointers = 1
        if scratch is not None:
            options.scratch, options.scratch_bytes = scratch.address, scratch.nbytes
        launch, lib = self.lib.c.plait_launch, self.lib
        args = (self.handle, ins, c.c_size_t(len(params)), outs, c.c_size_t(len(results)), c.byref(options))
        keep = (params, results, scratch, options, self)

        def call():
            options.stream = stream()
            if launch(*args, None):
                lib.call("plait_launch", *args)           # once more, for the message
        call.keep = keep
        return call

    def wait(self, stream=None):
        self.lib.call("plait_exec_wait", self.handle, c.c_void_p(stream))

    def __del__(self):
        if getattr(self, "handle", None):
            self.lib.c.plait_exec_free(self.handle)


class Buffer:
    """Memory with a shape, wherever it is."""

    def __init__(self, address, shape, nbytes):
        self.address, self.shape, self.ndim, self.nbytes = address, tuple(shape), len(shape), nbytes


class Device:
    """A GPU, through the library alone."""

    def __init__(self, cx, number=0):
        self.lib, self.handle = cx.lib, c.c_void_p()
        self.lib.call("plait_device_open", cx.handle, number, c.byref(self.handle))
        info = sized(DeviceInfo)
        self.lib.c.plait_device_get(self.handle, c.byref(info))
        self.name, self.arch, self.driver, self.multiprocessors = info.name.decode(), info.arch.decode(), info.driver, info.multiprocessors

    def alloc(self, shape, nbytes):
        address = c.c_void_p()
        self.lib.call("plait_device_alloc", self.handle, c.c_size_t(max(1, nbytes)), c.byref(address))
        return Buffer(address.value, shape, nbytes)

    def free(self, buffer):
        self.lib.c.plait_device_free(self.handle, c.c_void_p(buffer.address))

    def upload(self, buffer, array):
        self.lib.call("plait_device_upload", self.handle, c.c_void_p(buffer.address), c.c_void_p(array.ctypes.data),
                      c.c_size_t(array.nbytes), None)

    def download(self, array, buffer):
        self.lib.call("plait_device_download", self.handle, c.c_void_p(array.ctypes.data), c.c_void_p(buffer.address),
                      c.c_size_t(array.nbytes), None)


def tensors(pairs):
    made = (Tensor * max(1, len(pairs)))()
    for t, (array, dtype) in zip(made, pairs):
        address = array.address if isinstance(array, Buffer) else array.ctypes.data
        t.data, t.dtype, t.rank, t.bytes = address, DTYPE[dtype], array.ndim, array.nbytes
        t.extent[:array.ndim] = array.shape
    return made
