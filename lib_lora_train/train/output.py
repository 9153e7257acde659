"""Names and folders of what a run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lib_lora_train.errors import UserError
from lib_lora_train.files import safe_name, sweep_temporaries
from lib_lora_train.settings import RunSettings

LORA_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Output:
    """Where a run writes.

    `loras` gets the LoRA files, `run` everything else (metrics, samples, state). Names are kohya's:
    `name-000004` after epoch 4, `name-step00000120`, and `name` for the last one. A project numbers the last one
    too (`numbered_final`), because the WebUI knows a LoRA by its base name alone and keeps showing old weights of a
    name it has seen.
    """

    loras: Path
    run: Path
    name: str
    numbered_final: bool = False

    @classmethod
    def from_settings(cls, run: RunSettings) -> Output:
        """The command line's layout: everything in the output folder. Raises UserError for a bad name or folder."""
        if not run.output_dir:
            raise UserError("train.no_output_dir", "output_dir")
        if safe_name(run.output_name) != run.output_name:
            raise UserError("train.bad_name", "output_name", name=run.output_name, better=safe_name(run.output_name))
        folder = Path(run.output_dir)
        return cls(loras=folder, run=folder / f"{run.output_name}-run", name=run.output_name)

    @property
    def metrics(self) -> Path:
        """Beside it the meter writes the losses on pictures that are held back."""
        return self.run / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.run / "samples"

    @property
    def states(self) -> Path:
        return self.run / "state"

    @property
    def latents(self) -> Path:
        """Beside the runs, so that the next one finds them."""
        return self.run.parent / "latents"

    def epoch_file(self, epoch: int) -> Path:
        return self.loras / f"{self.name}-{epoch:06d}{LORA_SUFFIX}"

    def step_file(self, step: int) -> Path:
        return self.loras / f"{self.name}-step{step:08d}{LORA_SUFFIX}"

    def final_file(self, epoch: int, step: int = 0) -> Path:
        """`step` is given when the run ends within an epoch: the number of the last whole one may be taken."""
        if not self.numbered_final:
            return self.loras / f"{self.name}{LORA_SUFFIX}"
        return self.step_file(step) if step else self.epoch_file(epoch)

    def refuse_to_overwrite(self) -> None:
        """Raises UserError("train.exists") when LoRA files of this name are there already."""
        taken = [path for path in self.loras.glob("*" + LORA_SUFFIX) if self._is_ours(path.stem)]
        if taken:
            raise UserError("train.exists", "output_name", file=min(taken).name)

    def prepare(self) -> None:
        """Makes the folders and clears what a killed run left half written. Raises UserError("file.write")."""
        for folder in (self.loras, self.run, self.states, self.samples):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError("file.write", folder.name, reason=error.strerror or str(error)) from error
            sweep_temporaries(folder, older_than=3600 if folder == self.loras else 0)

    def keep_last(self, names: list[str], name: str, count: int) -> None:
        """`names`, oldest first, with `name` at the end. Of `count` or more only so many files stay; 0 keeps all."""
        if name not in names:
            names.append(name)
        for old in names[:-count] if count else []:
            (self.loras / old).unlink(missing_ok=True)
            names.remove(old)

    def _is_ours(self, stem: str) -> bool:
        if stem == self.name:
            return True
        rest = stem.removeprefix(f"{self.name}-")
        return rest != stem and rest.removeprefix("step").isdigit()
