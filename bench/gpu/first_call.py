#!/usr/bin/env python3
"""How long a compiler takes from a softmax [8192, 4096] in bf16 to its first result, in a process of its own.

    first_call.py plait|jax|triton|torch.compile        a line of JSON; the caches are those of the environment

What is imported and the device's start are not counted. `second`: another program in the same process.
"""
import json
import pathlib
import sys
import time

sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)
N, D = 8192, 4096


def timed(call):
    start = time.perf_counter()
    call()
    return round((time.perf_counter() - start) * 1e3, 2)


def plait_call(library):
    import plait
    cx = plait.Context(library=plait.Library(library))
    device = plait.Device(cx)
    x = device.alloc((N, D), 2 * N * D)

    def make(name, text):
        run = cx.entry(name, text).prepare("cuda", {"N": N, "D": D})
        run.scratch(plait.tensors([(x, "bf16")]), 1)
    make("warm.plait", "fn warm(x: bf16[N, D]) -> y: bf16[N, D] { y = x * 2 }")      # loads NVRTC
    softmax = (pathlib.Path(__file__).parent / "cases" / "softmax.plait").read_text()
    return {"first_ms": timed(lambda: make("softmax.plait", softmax)),
            "second_ms": timed(lambda: make("other.plait", "fn other(x: bf16[N, D]) -> y: bf16[N, D] { y = gelu(rms_norm(x)) }"))}


def jax_call(_):
    import jax
    import jax.numpy as jnp
    x = jnp.ones((N, D), jnp.bfloat16).block_until_ready()

    def other(x):
        return jax.nn.gelu(x * jax.lax.rsqrt(jnp.mean(x.astype(jnp.float32) ** 2, -1, keepdims=True) + 1e-5), approximate=False).astype(jnp.bfloat16)
    softmax = jax.jit(lambda x: jax.nn.softmax(x.astype(jnp.float32), -1).astype(jnp.bfloat16))
    return {"first_ms": timed(lambda: softmax(x).block_until_ready()), "second_ms": timed(lambda: jax.jit(other)(x).block_until_ready())}


def on_torch(first, second):
    import torch
    x = torch.randn(N, D, device="cuda").bfloat16()
    torch.cuda.synchronize()

    def call(f):
        f(torch, x)
        torch.cuda.synchronize()
    return {"first_ms": timed(lambda: call(first)), "second_ms": timed(lambda: call(second))}


def triton_call(_):
    from gpu import peers_triton as kernels
    y = []

    def softmax(torch, x):
        y.append(torch.empty_like(x))
        kernels.softmax_rows[(N,)](y[0], x, D=D, B=D, num_warps=8)
    return on_torch(softmax, lambda torch, x: kernels.rms_rows[(N,)](y[0], x, x, 1e-5, D=D, num_warps=8))


def compile_call(_):
    def other(x):
        import torch
        return torch.nn.functional.gelu(x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-5)).to(x.dtype)
    return on_torch(lambda torch, x: torch.compile(lambda x: torch.softmax(x, -1), dynamic=False)(x),
                    lambda torch, x: torch.compile(other, dynamic=False)(x))


CALLS = {"plait": plait_call, "jax": jax_call, "triton": triton_call, "torch.compile": compile_call}

if __name__ == "__main__":
    print(json.dumps(CALLS[sys.argv[1]](sys.argv[2] if len(sys.argv) > 2 else None)))
