"""From a project's pictures and a few wishes to a full set of settings, with reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lib_lora_train.collection.concepts import edit_concept
from lib_lora_train.collection.entries import PictureInfo, list_concepts, list_pictures
from lib_lora_train.collection.history import History
from lib_lora_train.collection.layout import Layout
from lib_lora_train.errors import UserError
from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.project import Project
from lib_lora_train.runs.managed import MANAGED, without
from lib_lora_train.runs.wishes import Wishes
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.fields import describe
from lib_lora_train.settings.writing import to_dict
from lib_lora_train.train.plan import SHARE_OF_FREE_MEMORY, Plan, PlanFacts, Reason, make_plan
from lib_lora_train.train.plan_model import own_sizes
from lib_lora_train.words import word

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host

_PROMPTS = 2
_TAGS = 8  # in a sample prompt, besides the trigger word
_LONGEST_PROMPT = 300


@dataclass(frozen=True)
class Planned:
    """A plan, and the settings that come of it: planned values, checkpoint, and when and what to sample."""

    plan: Plan
    settings: TrainSettings

    @property
    def repeats(self) -> int:
        return int(self.plan.changes["dataset.repeats"])

    def as_dict(self, language: str = DEFAULT_LANGUAGE) -> dict[str, object]:
        """The plan as the page and the REST route show it; memory in bytes."""
        labels = {f"{item.group}.{item.name}": item.label for item in describe(TrainSettings)}
        reasons = [
            {
                "setting": reason.setting,
                "label": word(labels[reason.setting], language),
                "value": reason.value,
                "text": reason.text(language),
            }
            for reason in self.plan.reasons
        ]
        return {
            "settings": to_dict(self.settings),
            "reasons": reasons,
            "warnings": [message(note.code, language, **note.values) for note in self.plan.warnings],
            "need": self.plan.need.total,
            "budget": self.plan.budget,
            "free": round(self.plan.budget / SHARE_OF_FREE_MEMORY),
            "fits": self.plan.fits,
            "steps": self.plan.steps,
            "showings": self.plan.showings,
        }


def plan_for(host: Host, project: Project, wishes: Wishes, base: TrainSettings | None = None) -> Planned:
    """Plans a run; what a plan does not decide is taken from `base`. Nothing is written.

    Raises UserError: run.wish, plan.no_images, and as `Host.describe` for the checkpoint.
    """
    wishes.check()
    facts = host.describe(wishes.checkpoint or usual_checkpoint(host))
    memory = host.memory()
    pictures = training_pictures(project)
    plan = make_plan(
        PlanFacts(
            sizes=tuple((picture.width, picture.height) for picture in pictures),
            subject=wishes.kind,
            drawn=wishes.drawn,
            family=facts.family,
            free_memory=memory.free,
            total_memory=memory.total,
            device=memory.device,
            bfloat16=memory.bfloat16,
            loaded_dtype=memory.loaded,
            choice=wishes.choice,
            native=facts.native,
            model=own_sizes(facts.family, facts.unet_config, facts.text_config, facts.parameters),
            hints=facts.hints,
            trigger=project.trigger_word,
            sentences=History.of_project(project).state().get("form") == "sentences",
            folders=tuple(Counter(picture.concept for picture in pictures).values()),
        )
    )
    if has_masks(project):
        plan = replace(plan, reasons=(*plan.reasons, Reason("dataset.masked_loss", True, "prepare.masked_loss")))
    settings = without(plan.applied(base or TrainSettings()), MANAGED)
    settings.model.checkpoint = facts.info.name
    settings.run.sample_every_n_epochs = 1
    if not settings.run.sample_prompts.strip():  # what somebody wrote stays
        settings.run.sample_prompts = "\n".join(sample_prompts(project, pictures))
    return Planned(plan, settings)


def has_masks(project: Project) -> bool:
    """Whether any training picture has a mask."""
    layout = Layout.read(project)
    return any(layout.masks(folder) for folder in layout.folders if not folder.regularization)


def usual_checkpoint(host: Host) -> str:
    """The one that is loaded, else the first of the list. Raises UserError("host.no_checkpoint")."""
    listed = host.checkpoints()
    current = host.current()
    if current is None and not listed:
        raise UserError("host.no_checkpoint", "checkpoint")
    if current is None or not any(info.path == current.path for info in listed):
        return listed[0].name if listed else current.name
    return next(info.name for info in listed if info.path == current.path)


def training_pictures(project: Project) -> list[PictureInfo]:
    """The pictures that a run learns from: of no regularization concept, and not broken."""
    wanted = {concept.id for concept in list_concepts(project) if not concept.regularization}
    return [picture for picture in list_pictures(project) if picture.concept in wanted and picture.width]


def apply_repeats(project: Project, repeats: int) -> None:
    """Gives every training concept its planned repeats, by its folder's name. Raises as `edit_concept`.

    Of two concepts with the same name, which differ in their repeats alone, the second keeps its own.
    """
    for concept in list_concepts(project):
        if not concept.regularization and concept.repeats != repeats:
            try:
                edit_concept(project, concept.id, repeats=repeats)
            except UserError as error:
                if error.code != "collection.concept_taken":
                    raise


def sample_prompts(project: Project, pictures: Sequence[PictureInfo]) -> list[str]:
    """Prompts that show what is learned: the trigger word with the tags of the two most usual captions.

    Whole captions, not the most frequent tags of all of them, which contradict each other ("close-up, full body").
    """
    trigger = _plain(project.trigger_word)
    captions = dict.fromkeys(tuple(_tags(picture.caption, trigger)) for picture in pictures)
    captions.pop((), None)
    counts = Counter(tag for picture in pictures for tag in set(_tags(picture.caption, trigger)))
    chosen: list[tuple[str, ...]] = []
    left = sorted(captions, key=lambda tags: -sum(counts[tag] for tag in tags) / len(tags))
    while left and len(chosen) < _PROMPTS:
        seen = {tag for tags in chosen for tag in tags}
        best = min(left, key=lambda tags: len(seen & set(tags)) / len(tags))  # the first of the most different ones
        left.remove(best)
        chosen.append(best)
    prompts = [_prompt(trigger, sorted(tags, key=lambda tag: -counts[tag])[:_TAGS]) for tags in chosen]
    return prompts or [trigger or _plain(project.title)]


def _prompt(trigger: str, tags: Iterable[str]) -> str:
    """One line, with nothing in it that the reader of prompts takes for a flag or a comment."""
    return ", ".join(part for part in (trigger, *tags) if part)[:_LONGEST_PROMPT].rstrip(", ")


def _tags(caption: str, trigger: str) -> list[str]:
    first = next((line for line in caption.splitlines() if line.strip()), "")
    tags = (_plain(tag) for tag in first.split(","))
    return [tag for tag in dict.fromkeys(tags) if tag and tag.casefold() != trigger.casefold()]


def _plain(text: str) -> str:
    return " ".join(text.replace("--", "-").split()).lstrip("# ")
