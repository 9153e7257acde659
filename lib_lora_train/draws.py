"""Where every random draw of a run comes from.

Each draw has a purpose and a place ("noise", step 120; "order", epoch 3; "posterior", a content hash), and its
generator is made from (seed, purpose, place) alone, never from torch's or Python's global state, which previews
and other extensions disturb. A resumed run therefore draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import hashlib
import random

import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed in 0..2**63-1 that depends on `seed` and each part of `purpose`, the same on every platform.

    Parts are written with their kind and length before they are hashed (SHA-256), so that ("a", "bc") differs from
    ("ab", "c") and 1 from "1". Raises TypeError for a part that is neither text nor whole number.
    """
    digest = hashlib.sha256()
    for part in (seed, *purpose):
        if isinstance(part, bool) or not isinstance(part, (str, int)):
            raise TypeError(f"a purpose is made of text and whole numbers, not {type(part).__name__}")
        kind = "i" if isinstance(part, int) else "s"
        data = str(part).encode("utf-8", "surrogatepass")
        digest.update(f"{kind}{len(data)}:".encode())
        digest.update(data)
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def torch_generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A new CPU generator for one purpose; its draws are the same whatever device trains."""
    return torch.Generator("cpu").manual_seed(derive_seed(seed, *purpose))


def python_random(seed: int, *purpose: str | int) -> random.Random:
    """A new `random.Random` for one purpose."""
    return random.Random(derive_seed(seed, *purpose))
