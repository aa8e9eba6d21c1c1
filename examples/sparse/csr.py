"""csr.py FOLDER: writes row.npy, col.npy and val.npy, a sparse matrix of 500 rows and 1000 columns in compressed rows."""
import sys
from pathlib import Path

import numpy as np


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    r = np.random.default_rng(0)
    lengths = r.integers(0, 20, 500)                           # some rows are empty
    columns = [np.sort(r.choice(1000, n, replace=False)) for n in lengths]
    np.save(folder / "row.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    np.save(folder / "col.npy", np.concatenate(columns).astype(np.int32))
    np.save(folder / "val.npy", r.standard_normal(lengths.sum()).astype(np.float32))


if __name__ == "__main__":
    main()
