"""The health report of a project as faces show it, and the buttons beside its findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lib_lora_train.access import Visitor
from lib_lora_train.collection.trash import delete_pictures
from lib_lora_train.errors import UserError
from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.prepare.fixing import FIXES, Fixing
from lib_lora_train.prepare.tools import Tools
from lib_lora_train.project import Project
from lib_lora_train.signals import Commands, EventSink
from lib_lora_train.workshop.context import Context
from lib_lora_train.workshop.sources import stamp_of

if TYPE_CHECKING:
    from lib_lora_train.prepare.health.findings import Finding
    from lib_lora_train.workshop.workshop import Workshop


def shown_report(context: Context, tools: Tools, language: str = DEFAULT_LANGUAGE) -> dict[str, Any]:
    """`GET /report`."""
    ran = context.state.ran.get("check")
    if ran is None:
        return {"score": None, "reasons": [], "findings": [], "checked": 0, "time": None, "stale": True}
    report = context.report
    upscales = bool(tools.host is not None and tools.host.upscalers())
    entries = {entry.source.original: entry for entry in context.wanted.entries}
    findings = []
    for finding in report.findings:
        pictures = [
            {"source": entries[key].source.id, "name": entries[key].source.name, "stamp": stamp_of(entries[key])}
            for key in finding.keys
            if key in entries
        ]
        fixes = [fix for fix in finding.fixes if fix != "upscale" or upscales]
        findings.append(
            {
                "id": finding.id,
                "code": finding.code,
                "severity": finding.severity,
                "title": finding.title(language),
                "sentence": finding.sentence(language),
                "pictures": pictures,
                "best": context.ids.get(finding.best, ""),
                "fixes": [{"name": fix, "label": message(f"health.fix_{fix}", language)} for fix in fixes],
            }
        )
    looked = sum(entry.task is not None for entry in context.wanted.entries)
    return {
        "score": report.score,
        "reasons": report.as_dict(language)["reasons"],
        "findings": findings,
        "checked": looked,
        "time": context.state.times.get("check"),
        "stale": not is_judged(context),
    }


def is_judged(context: Context) -> bool:
    """Whether everything that will be in the data set was looked at as it will be."""
    medium = (context.state.ran.get("check") or context.state.settings).check.medium
    contents = [content for entry in context.wanted.entries for content in entry.contents.values()]
    return all(context.bench.any_look(content, medium) is not None for content in contents)


def fix_finding(
    workshop: Workshop, project: Project, visitor: Visitor, finding_id: str, fix: str, source_ids: Sequence[str]
) -> dict[str, Any]:
    """`POST /fix`: deletes pictures at once, with undo; what takes time is put in line and waits to be applied.

    Raises UserError: prepare.no_finding, prepare.no_fix, and those of deleting and of the line.
    """
    context = workshop.context(project)
    finding = next((each for each in context.report.findings if each.id == finding_id), None)
    if finding is None:
        raise UserError("prepare.no_finding", "finding")
    if fix not in finding.fixes:
        raise UserError("prepare.no_fix", "fix", value=fix[:60])
    originals = _chosen(context, finding, source_ids)
    language = visitor.language
    if fix in FIXES:
        settings = workshop.settings(project)

        def work(events: EventSink, commands: Commands) -> None:
            Fixing(project, workshop.tools, settings, frozenset(originals), events, commands).run(fix)

        workshop.line.start(project, visitor, work)
        return {"sentence": message("prepare.fix_started", language, count=len(originals)), "trash_id": ""}
    if fix == "keep_best":
        originals = [original for original in originals if original != finding.best]
    pictures = [
        entry.source.folder.picture_id(output.name)
        for entry in context.wanted.entries
        if entry.source.original in originals
        for output in entry.source.outputs
    ]
    trash_id = delete_pictures(project, pictures)
    return {"sentence": message("prepare.fix_excluded", language, count=len(pictures)), "trash_id": trash_id}


def _chosen(context: Context, finding: Finding, source_ids: Sequence[str]) -> list[str]:
    """Originals of a finding, or those of them that were named."""
    wanted = set(source_ids)
    return [key for key in finding.keys if not wanted or context.ids.get(key) in wanted]
