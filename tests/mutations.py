"""Faults put into the code one at a time; for each, the tests named beside it must fail.

A line that cannot be found any more fails too, so the list keeps up with the code. Run by `test_mutations.py`, or
alone: `python -m tests.mutations [words of the fault]`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Mutation:
    """`old` stands exactly once in `file` (below lib_lora_train) and is replaced by `new`."""

    fault: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = (
    Mutation(
        "the mask is forgotten in the loss",
        "train/loss.py",
        "losses = losses * masks",
        "losses = losses * 1",
        "tests/train/test_loss.py",
    ),
    Mutation(
        "min-SNR takes the larger of the two",
        "train/loss.py",
        "snr.clamp(max=settings.min_snr_gamma)",
        "snr.clamp(min=settings.min_snr_gamma)",
        "tests/train/test_loss.py",
    ),
    Mutation(
        "the velocity has its terms the wrong way round",
        "train/noise.py",
        "return _rows(self.signal, timesteps) * noise - _rows(self.sigma, timesteps) * latents",
        "return _rows(self.sigma, timesteps) * noise - _rows(self.signal, timesteps) * latents",
        "tests/train/test_noise.py",
    ),
    Mutation(
        "noise is the same at every step",
        "train/noise.py",
        'torch_generator(seed, "noise", micro)',
        'torch_generator(seed, "noise")',
        "tests/train/test_noise.py",
    ),
    Mutation(
        "one block of the key map is off by one",
        "network/keys.py",
        'f"output_blocks.{number}.1")\n            number += 1  # LDM',
        'f"output_blocks.{number + 1}.1")\n            number += 1  # LDM',
        "tests/network/test_network_keys.py",
    ),
    Mutation(
        "an adapter leaves its forward behind",
        "network/modules.py",
        '            del self.module.__dict__["forward"]',
        "            pass",
        "tests/network/test_network_modules.py",
    ),
    Mutation(
        "the adapter's scale is left out",
        "network/modules.py",
        "        return self.alpha / self.rank",
        "        return 1.0",
        "tests/network/test_network_modules.py",
    ),
    Mutation(
        "the guard does not look at the weights",
        "host/guard.py",
        "tensors={name: _tensor_state(tensor, digests[name]) for name, tensor in tensors.items()},",
        "tensors={},",
        "tests/host/test_guard.py",
    ),
    Mutation(
        "a file is written in place",
        "files.py",
        '    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")',
        "    temporary = path",
        "tests/ground/test_writing.py",
    ),
    Mutation(
        "a path may leave its root",
        "files.py",
        "    if target != base and base not in target.parents:",
        "    if False:",
        "tests/ground/test_paths.py",
    ),
    Mutation(
        "every epoch has the same order",
        "dataset/batches.py",
        'python_random(seed, "order", epoch, *bucket)',
        'python_random(seed, "order", 0, *bucket)',
        "tests/dataset/test_dataset_batches.py",
    ),
    Mutation(
        "buckets mix within a batch",
        "dataset/batches.py",
        "shown[entry.bucket].append(Showing(",
        "shown[(64, 64)].append(Showing(",
        "tests/dataset/test_dataset_batches.py",
    ),
    Mutation(
        "bucket heights are not limited by the area",
        "dataset/buckets.py",
        "area // width // step * step",
        "largest // step * step",
        "tests/dataset/test_dataset_buckets.py",
    ),
    Mutation(
        "gradients that wait are not in the state",
        "train/state.py",
        'gradients=_group(tensors, "gradient")',
        "gradients={}",
        "tests/train/test_state.py",
    ),
    Mutation(
        "an infinite gradient does not lower the scale",
        "train/scaler.py",
        "self.scale /= 2.0",
        "self.scale /= 1.0",
        "tests/train/test_scaler.py",
    ),
    Mutation(
        "what is not finite is not noticed",
        "train/meter.py",
        "if not (math.isfinite(loss) and math.isfinite(norm)):",
        "if False:",
        "tests/train/test_meter.py",
    ),
    Mutation(
        "a cookie alone changes things",
        "api/gate.py",
        "(self.cookie and not wanted.writes)",
        "self.cookie",
        "tests/api/test_api_table.py",
    ),
    Mutation(
        "any password is right",
        "api/gate.py",
        "if hmac.compare_digest(given, digests):",
        "if hmac.compare_digest(given[:32], digests[:32]):",
        "tests/api/test_api_table.py",
    ),
    Mutation(
        "a page of another site is let in",
        "api/gate.py",
        'if is_foreign(request.headers, request.scope["scheme"]):',
        'if request.method == "GET" and is_foreign(request.headers, request.scope["scheme"]):',
        "tests/api/test_api_table.py",
    ),
    Mutation(
        "strangers name folders of the server",
        "api/gate.py",
        "if wanted is Policy.FOLDERS:",
        "if False:",
        "tests/api/test_api_table.py",
    ),
    Mutation(
        "a body without a length has no limit",
        "api/route.py",
        "if count > most:",
        "if False:",
        "tests/api/test_api_route.py",
    ),
    Mutation(
        "a fault of the program is told to the caller",
        "api/route.py",
        'shown = UserError("api.failed")',
        'shown = UserError("api.no_file", str(error))',
        "tests/api/test_api_route.py",
    ),
    Mutation(
        "the digest of a preview leaves out what captions become",
        "tags/proposing.py",
        'shown += (item.id, item.key, item.version, text, "")',
        'shown += (item.id, item.key, item.version, "")',
        "tests/tags/test_edits.py",
    ),
    Mutation(
        "an edit of tags loses the caption's other lines",
        "tags/proposing.py",
        "draft.text = line if draft.text == draft.line else with_line(draft.text, line)",
        "draft.text = line",
        "tests/tags/test_edits.py",
    ),
)


def survives(mutation: Mutation) -> str:
    """Empty when the tests notice the fault; else what went wrong."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place)
        for name in ("lib_lora_train", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "lib_lora_train" / mutation.file
        text = path.read_text(encoding="utf-8")
        if text.count(mutation.old) != 1:
            return f"{mutation.fault}: the line stands {text.count(mutation.old)} times in {mutation.file}"
        path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", mutation.tests]
        done = subprocess.run(
            command, cwd=copy, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        # 1 is "tests failed"; anything else (nothing collected, a broken import) proves nothing.
        return (
            "" if done.returncode == 1 else f"{mutation.fault}: not noticed by {mutation.tests}\n{done.stdout[-800:]}"
        )


def main(words: list[str]) -> int:
    chosen = [mutation for mutation in MUTATIONS if all(word in mutation.fault for word in words)]
    failures = 0
    for mutation in chosen:
        failure = survives(mutation)
        failures += bool(failure)
        print(failure or f"noticed: {mutation.fault}", flush=True)
    print(f"{len(chosen) - failures} of {len(chosen)} faults noticed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
