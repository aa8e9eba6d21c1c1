"""Writes examples/data/smollm2, the slice of the weights that run.py uses offline.

    build/smollm2/venv/bin/python examples/smollm2/slice.py

What the left-out layers compute is kept as run.py's float64 pass gives it, rounded to float32.
"""
import json
import shutil
from importlib import metadata

import numpy as np

from bounds import exact
from model import PACKAGE, Model, weights_file
from reference import attend, head, mlp_half, qkv
from run import SLICE, Layer, drop

TEXT = "The capital of France is"
ROWS, CANDIDATES = 192, 256


def main() -> None:
    model = Model(weights_file())
    tokens = model.tokenizer
    ids = tokens.encode(TEXT)
    pos = np.arange(len(ids))
    table, first = model.matrix("token_embd"), Layer(model, 0)
    x = exact(table.rows(ids).decode()[0])
    for k in range(model.layers):
        w = Layer(model, k)
        r = drop(attend(*map(drop, qkv(x, w.g1, w.qkv, pos, model.base)), w.wo))
        if k == 0:
            attended = r.v
        x = drop(mlp_half(x, r, w.g2, w.mlp))
    last, norm = x.v[-1:].astype(np.float32), model.norm("output_norm")
    best = np.argsort(-head(exact(last), norm, table).v[0])[:CANDIDATES]

    SLICE.mkdir(parents=True, exist_ok=True)
    arrays = {"embedding": table.rows(ids).data, "candidates": table.rows(best).data, "attended": attended.astype(np.float32),
              "ffn_norm": first.g2, "gate": first.mlp["gate"].rows(slice(ROWS)).data, "up": first.mlp["up"].rows(slice(ROWS)).data,
              "last": last, "output_norm": norm}
    for name, a in arrays.items():
        np.save(SLICE / f"{name}.npy", a)
    name = lambda k: tokens.decode([int(k)])
    facts = {"text": TEXT, "tokens": [name(k) for k in ids], "candidates": [name(k) for k in best]}
    (SLICE / "facts.json").write_text(json.dumps(facts, ensure_ascii=False, indent=0) + "\n")
    licence = next(f for f in metadata.files(PACKAGE) if f.name == "LICENSE")
    shutil.copy(licence.locate(), SLICE / "LICENSE")


if __name__ == "__main__":
    main()
