"""onnx_ops.py: the operations of ops.py as nodes of an ONNX graph; where ONNX has an operator for a whole case, that."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .ops import Unsupported

TYPES = {"f32": TensorProto.FLOAT, "i32": TensorProto.INT32, "bool": TensorProto.BOOL, "u8": TensorProto.UINT8,
         "i8": TensorProto.INT8}
OPSET = 20


class Value:
    """An edge of the graph. Shapes are static."""

    __array_ufunc__ = None

    def __init__(self, m, name, shape):
        self.m, self.name, self.shape = m, name, tuple(shape)

    def __add__(self, other):
        return self.m.binary("Add", self, other)

    def __sub__(self, other):
        return self.m.binary("Sub", self, other)

    def __rsub__(self, other):
        return self.m.binary("Sub", other, self)

    def __mul__(self, other):
        return self.m.binary("Mul", self, other)

    def __truediv__(self, other):
        return self.m.binary("Div", self, other)

    def __rtruediv__(self, other):
        return self.m.binary("Div", other, self)

    def __neg__(self):
        return self.m.node("Neg", [self], self.shape)

    __radd__, __rmul__ = __add__, __mul__

    def __getitem__(self, at):
        return self.m.subscripted(self, at)


class OnnxOps:
    def __init__(self):
        self.nodes, self.constants, self.shared = [], [], {}
        for name in ("exp", "log", "tanh", "erf", "sqrt", "abs"):
            setattr(self, name, lambda a, kind=name.capitalize(): self.node(kind, [a], a.shape))

    def constant(self, array):
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.shared:
            name = f"constant{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, name))
            self.shared[key] = Value(self, name, array.shape)
        return self.shared[key]

    def lift(self, a):
        return a if isinstance(a, Value) else self.constant(np.asarray(a, np.float32))

    def node(self, kind, args, shape, **attributes):
        name = f"node{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [a.name for a in args], [name], **attributes))
        return Value(self, name, shape)

    def binary(self, kind, a, b):
        a, b = self.lift(a), self.lift(b)
        return self.node(kind, [a, b], np.broadcast_shapes(a.shape, b.shape))

    def rsqrt(self, a):
        return 1.0 / self.sqrt(a)

    def maximum(self, a, b):
        return self.binary("Max", a, b)

    def minimum(self, a, b):
        return self.binary("Min", a, b)

    def where(self, c, a, b):
        a, b = self.lift(a), self.lift(b)
        return self.node("Where", [c, a, b], np.broadcast_shapes(c.shape, a.shape, b.shape))

    def positive(self, a):
        return self.binary("Greater", a, 0.0)

    def truth(self, mask):
        return mask

    def reduced(self, kind, a, axis, keep):
        axes = tuple(range(len(a.shape))) if axis is None else np.atleast_1d(axis) % len(a.shape)
        shape = [1 if i in axes else n for i, n in enumerate(a.shape)]
        shape = shape if keep else [n for i, n in enumerate(a.shape) if i not in axes]
        return self.node(kind, [a, self.constant(np.array(axes, np.int64))], shape, keepdims=int(keep))

    def sum(self, a, axis=-1, keep=False):
        return self.reduced("ReduceSum", a, axis, keep)

    def mean(self, a, axis=-1, keep=False):
        return self.reduced("ReduceMean", a, axis, keep)

    def max(self, a, axis=-1, keep=False):
        return self.reduced("ReduceMax", a, axis, keep)

    def argmax(self, a):
        wide = self.node("ArgMax", [a], a.shape[:-1], axis=-1, keepdims=0)
        return self.node("Cast", [wide], wide.shape, to=TensorProto.INT32)

    def cumsum(self, a):
        return self.node("CumSum", [a, self.constant(np.array(len(a.shape) - 1, np.int64))], a.shape)

    def pick(self, a, at):
        columns = self.reshape(at, (at.shape[0], 1))
        return self.reshape(self.node("GatherElements", [a, columns], columns.shape, axis=1), at.shape)

    def take(self, table, at):
        return self.node("Gather", [table, at], at.shape + table.shape[1:])

    def reshape(self, a, shape):
        return self.node("Reshape", [a, self.constant(np.array(shape, np.int64))], shape)

    def transpose(self, a, order):
        return self.node("Transpose", [a], [a.shape[i] for i in order], perm=list(order))

    def concat(self, arrays, axis):
        shape = list(arrays[0].shape)
        shape[axis] = sum(a.shape[axis] for a in arrays)
        return self.node("Concat", arrays, shape, axis=axis)

    def pad(self, a, widths):
        ends = np.array([w[0] for w in widths] + [w[1] for w in widths], np.int64)
        return self.node("Pad", [a, self.constant(ends)], [n + sum(w) for n, w in zip(a.shape, widths)])

    def lower_triangle(self, n):
        return self.constant(np.tri(n, dtype=bool))

    def widened(self, a):
        return self.node("Cast", [a], a.shape, to=TensorProto.FLOAT)

    def subscripted(self, a, at):
        """a[k], a[..., k], a[..., low:high]."""
        last = isinstance(at, tuple)
        axis, at = (len(a.shape) - 1, at[-1]) if last else (0, at)
        if isinstance(at, int):
            shape = a.shape[:axis] + a.shape[axis + 1:]
            return self.node("Gather", [a, self.constant(np.array(at, np.int64))], shape, axis=axis)
        low, high, _ = at.indices(a.shape[axis])
        shape = a.shape[:axis] + (high - low,) + a.shape[axis + 1:]
        ends = [self.constant(np.array([n], np.int64)) for n in (low, high, axis)]
        return self.node("Slice", [a, *ends], shape)

    def rounded(self, a):
        return a

    def uniform(self, seed, shape):
        raise Unsupported("dropout only while training")

    def scan(self, a, b, start):
        raise Unsupported("a loop of nodes for each step")


def softmax(m, x):
    return m.node("Softmax", [x], x.shape, axis=-1)


def layer_norm_residual(m, x, r, w, b):
    s = x + r
    return s, m.node("LayerNormalization", [s, w, b], s.shape, axis=-1, epsilon=1e-5)


# Cases for which ONNX has an operator of its own.
WHOLE = {
    "softmax": softmax,
    "log_softmax": lambda m, x: m.node("LogSoftmax", [x], x.shape, axis=-1),
    "logsumexp": lambda m, x: m.node("ReduceLogSumExp", [x, m.constant(np.array([1], np.int64))], x.shape[:1], keepdims=0),
    "layer_norm_residual": layer_norm_residual,
    "bias_gelu_erf": lambda m, x, b: m.node("Gelu", [x + b], x.shape),
    "bias_gelu_tanh": lambda m, x, b: m.node("Gelu", [x + b], x.shape, approximate="tanh"),
    "transpose_bias_gelu": lambda m, x, b: m.node("Gelu", [m.transpose(x, (1, 0)) + b], x.shape[::-1]),
}


def store(m, v, dtype):
    if dtype == "i8":
        return m.node("Cast", [m.node("Round", [v], v.shape)], v.shape, to=TensorProto.INT8)
    if dtype not in TYPES:
        raise Unsupported(f"{dtype} has no kernels on the CPU")
    return v


def model(program):
    """The program as a serialised model."""
    m, case = OnnxOps(), program.case
    edges = {t.name: Value(m, t.name, t.shape) for t in program.tensor_params}
    args = [case.scalars[t.name] if t.name in case.scalars else
            m.widened(edges[t.name]) if t.dtype == "u8" else edges[t.name] for t in program.params]
    found = WHOLE.get(case.name, case.formula)(m, *args)
    found = found if isinstance(found, tuple) else (found,)
    for v, t in zip(found, program.results):
        m.nodes.append(helper.make_node("Identity", [store(m, v, t.dtype).name], [t.name]))
    def info(t):
        return helper.make_tensor_value_info(t.name, TYPES[t.dtype], t.shape)
    graph = helper.make_graph(m.nodes, case.name, [info(t) for t in program.tensor_params],
                              [info(t) for t in program.results], m.constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(made)
    return made.SerializeToString()
