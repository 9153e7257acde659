"""What the health check says: findings, and the score that follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.signals import Log

FIXES = ("exclude", "keep_best", "crop", "close_ups", "upscale", "trim", "mask")


@dataclass(frozen=True)
class Code:
    """One kind of finding.

    `way`: "unfit" pictures are better left out; "repair": the picture stays, and something about it can be made better;
    "set": about the set. `points`: of 100, lost when all pictures have it (for "set": see `Finding.weight`).
    """

    name: str
    severity: str  # error, warning or hint
    way: str
    points: float
    fixes: tuple[str, ...] = ()


CODES: Mapping[str, Code] = {
    code.name: code
    for code in (
        Code("broken", "error", "unfit", 100, ("exclude",)),
        Code("empty", "error", "unfit", 100, ("exclude",)),
        Code("duplicate_exact", "warning", "unfit", 50, ("keep_best",)),
        Code("duplicate_near", "warning", "unfit", 50, ("keep_best",)),
        Code("duplicate_mirrored", "warning", "unfit", 40, ("keep_best",)),
        Code("duplicate_crop", "warning", "unfit", 40, ("keep_best",)),
        Code("blurred", "warning", "unfit", 70, ("exclude",)),
        Code("upscaled", "warning", "unfit", 60, ("exclude",)),
        Code("compressed", "warning", "unfit", 60, ("exclude",)),
        Code("dark", "warning", "unfit", 50, ("exclude",)),
        Code("bright", "warning", "unfit", 50, ("exclude",)),
        Code("flat", "warning", "unfit", 50, ("exclude",)),
        Code("lettering", "warning", "unfit", 60, ("exclude",)),
        Code("face_none", "warning", "unfit", 40, ("exclude",)),
        Code("small", "warning", "repair", 50, ("upscale",)),
        Code("borders", "warning", "repair", 40, ("trim",)),
        Code("faces_several", "warning", "repair", 30, ("crop",)),
        Code("face_small", "hint", "repair", 20, ("crop", "close_ups")),
        Code("face_cut", "hint", "repair", 8),
        Code("face_covered", "hint", "repair", 10),
        Code("face_hidden", "hint", "repair", 8),
        Code("aspect", "hint", "repair", 10, ("crop",)),
        Code("little_detail", "hint", "repair", 6),
        Code("below_twice", "hint", "repair", 5),
        Code("transparent", "hint", "repair", 4, ("mask",)),
        Code("few", "warning", "set", 40),
        Code("many", "hint", "set", 0),
        Code("no_close_ups", "hint", "set", 8, ("close_ups",)),
        Code("only_close_ups", "hint", "set", 6),
        Code("one_angle", "hint", "set", 6),
        Code("same_background", "hint", "set", 10, ("mask",)),
        Code("caption_none", "hint", "set", 10),
        Code("caption_same", "hint", "set", 6),
        Code("caption_trigger", "hint", "set", 8),
        Code("caption_everywhere", "hint", "set", 4),
    )
}


@dataclass(frozen=True)
class Finding:
    """`id` is the same as long as the finding is: its code, and for duplicates the first picture of the group. `keys`: the
    pictures concerned. `values`: for the sentence. `best`: of duplicates, the one to keep. `weight`: 0..1, how bad it is,
    for findings about the set."""

    id: str
    code: str
    severity: str
    keys: tuple[str, ...]
    values: Mapping[str, object]
    fixes: tuple[str, ...]
    best: str = ""
    weight: float = 1.0

    @property
    def faulty(self) -> tuple[str, ...]:
        """The pictures that are worse for it: of duplicates all but the best."""
        return tuple(key for key in self.keys if key != self.best)

    def title(self, language: str = DEFAULT_LANGUAGE) -> str:
        return message(f"health.title_{self.code}", language)

    def sentence(self, language: str = DEFAULT_LANGUAGE) -> str:
        return message(f"health.say_{self.code}", language, **self.values)


def finding(
    code: str, keys: Sequence[str], values: Mapping[str, object], best: str = "", weight: float = 1.0, mark: str = ""
) -> Finding:
    kind = CODES[code]
    keys = tuple(dict.fromkeys(keys))
    given = {"count": len(keys), **values}
    return Finding(f"{code}:{mark}" if mark else code, code, kind.severity, keys, given, kind.fixes, best, weight)


@dataclass(frozen=True)
class Report:
    """`score` 0..100; `reasons`: where points were lost, most first; `findings`: gravest first."""

    score: int
    reasons: list[Log] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def as_dict(self, language: str = DEFAULT_LANGUAGE) -> dict[str, object]:
        """For JSON, in words."""
        reasons = [
            message("health.reason", language, points=reason.values["points"], title=message(reason.code, language))
            for reason in self.reasons
        ]
        findings = [
            {
                "id": each.id,
                "code": each.code,
                "severity": each.severity,
                "title": each.title(language),
                "sentence": each.sentence(language),
                "keys": list(each.keys),
                "best": each.best,
                "fixes": [{"name": fix, "label": message(f"health.fix_{fix}", language)} for fix in each.fixes],
            }
            for each in self.findings
        ]
        return {"score": self.score, "reasons": reasons, "findings": findings}


def score(findings: Sequence[Finding], count: int) -> tuple[int, list[Log]]:
    """Of a set of `count` pictures, and why.

    Of the fit pictures F (no finding says to leave them out), a code costs points * n / (F + n) when its n pictures are
    unfit, and points * n / F when its n pictures (of F) can be made better. Leaving out an unfit picture takes one from n
    and nothing from F, so no other term grows; making a picture better takes one from n. Findings about the set are made
    from F alone. So no fix that is offered lowers the score.
    """
    if not count:
        return 0, []
    unfit = {key for each in findings if CODES[each.code].way == "unfit" for key in each.faulty}
    fit = count - len(unfit)
    lost: dict[str, float] = {}
    pictures: dict[str, set[str]] = {}
    for each in findings:
        pictures.setdefault(each.code, set()).update(each.faulty)
    for each in findings:
        code = CODES[each.code]
        concerned = pictures[each.code]
        if code.way == "unfit":
            lost[code.name] = code.points * len(concerned) / (fit + len(concerned))
        elif code.way == "repair":
            lost[code.name] = code.points * len(concerned - unfit) / fit if fit else 0.0
        else:
            lost[code.name] = code.points * each.weight
    order = sorted((name for name in lost if lost[name] >= 0.5), key=lambda name: -lost[name])
    reasons = [Log(f"health.title_{name}", {"points": max(round(lost[name]), 1)}) for name in order]
    return round(max(100 - sum(lost.values()), 0.0)), reasons
