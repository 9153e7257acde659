"""The health report of a project: about its pictures as they will be once what was prepared is applied."""

from __future__ import annotations

from lib_lora_train.prepare.bench import Bench
from lib_lora_train.prepare.health.findings import Report
from lib_lora_train.prepare.health.judge import HealthWishes, Item, judge
from lib_lora_train.prepare.state import State
from lib_lora_train.prepare.wanted import Entry, Wanted
from lib_lora_train.project import Project


def project_report(project: Project, state: State, bench: Bench, wanted: Wanted) -> Report:
    """The keys of its findings are names of originals."""
    settings = (state.ran.get("check") or state.settings).check
    items = [item for entry in wanted.entries for item in items_of(entry, bench, settings.medium)]
    return judge(items, HealthWishes(settings.size, project.kind, project.trigger_word), bench.alike)


def items_of(entry: Entry, bench: Bench, medium: str) -> list[Item]:
    """A picture for each of an original's crops that somebody has looked at."""
    source, found = entry.source, []
    if entry.task is None:
        return [Item(source.original, source.name, (0, 0), None, entry.error)]
    for place, content in sorted(entry.contents.items()):
        look = bench.any_look(content, medium) or (bench.any_look(entry.task.digest, medium) if place == 0 else None)
        if look is None:
            continue
        size, caption = (look.width, look.height), entry.captions.get(place, "")
        found.append(Item(source.original, source.name, size, look.measures, look.error, caption))
    return found
