"""The rules of the house, checked: who may import whom, what must not be written, and that every text exists."""

from __future__ import annotations

import ast
import json
import re
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lib_lora_train"

# Rooms by floor. A room imports its own floor's files of the same room, and rooms on lower floors.
FLOORS: dict[str, int] = {
    "errors": 1, "messages": 1, "files": 1, "signals": 1, "settings": 1, "draws": 1, "words": 1,
    "project": 2, "access": 2, "origin": 2,
    "dataset": 3, "network": 3, "vision": 3,
    "host": 4, "collection": 4,
    "train": 5, "preview": 5, "prepare": 5, "tags": 5,
    "jobs": 6, "job_files": 6,
    "runs": 7,
    "workshop": 8, "editor": 8, "previews": 8,
    "studio": 9,
    "api": 10, "ui": 10, "demo_run": 10,
    "cli": 11, "serve": 11, "extension": 11, "flags": 11, "progress": 11, "__main__": 11,
    "terminal": 11, "prepare_commands": 11, "tags_commands": 11, "lora_commands": 11, "grid_commands": 11,
}  # fmt: skip
# Within a floor these may be seen by the others of it; the order is their own.
SHARED = {"errors", "messages", "files", "signals", "settings", "draws", "job_files", "flags", "progress", "serve", "cli", "terminal", "prepare_commands", "tags_commands", "lora_commands", "grid_commands"}
ONLY_IN = {"gradio": "ui", "fastapi": "api", "pydantic": "api", "modules": "host"}
LONGEST, LONGEST_TRAINER = 400, 500


def sources(folder: Path = PACKAGE) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def all_sources() -> list[Path]:
    """Everything that is ours: the package, the demo, the entry files, the benchmarks; not the tests."""
    top = sorted(ROOT.glob("*.py"))
    return top + [path for name in ("lib_lora_train", "demo", "benchmarks", "scripts") for path in sources(ROOT / name)]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 10))


def room(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def imported(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_room_has_a_floor() -> None:
    assert {room(path) for path in sources()} - {"__init__"} <= set(FLOORS)


def test_imports_go_down() -> None:
    wrong = []
    for path in sources():
        here = room(path)
        if here == "__init__":
            continue
        for name in imported(tree(path)):
            parts = name.split(".")
            if parts[0] != "lib_lora_train" or len(parts) < 2 or parts[1] not in FLOORS:
                continue
            there = parts[1]
            down = FLOORS[there] < FLOORS[here]
            beside = FLOORS[there] == FLOORS[here] and there in SHARED
            if there != here and not down and not beside:
                wrong.append(f"{short(path)} imports {name}")
    assert wrong == []


def test_host_libraries_stay_in_their_room() -> None:
    wrong = []
    for path in sources():
        for name in imported(tree(path)):
            owner = ONLY_IN.get(name.split(".")[0])
            if owner and room(path) != owner:
                wrong.append(f"{short(path)} imports {name}")
    assert wrong == []


def test_every_other_room_imports_without_a_webui() -> None:
    """With gradio, fastapi and the WebUI's modules out of reach."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sources()
        if room(path) not in ("ui", "api", "__main__") and "webui" not in path.parts and "forge" not in path.parts
    ]
    code = (
        "import sys, importlib\n"
        "for name in ('gradio', 'fastapi', 'modules'): sys.modules[name] = None\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
    )
    names = [name for name in names if name not in ("lib_lora_train.host.embedded", "lib_lora_train.demo_run")]
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_command_line_starts_without_torch() -> None:
    code = (
        "import sys, lib_lora_train.cli; print([n for n in ('torch', 'numpy', 'PIL', 'diffusers') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", all_sources(), ids=short)
def test_syntax_is_python_3_10(path: Path) -> None:
    tree(path)


def test_standalone_can_be_read_by_python_3_8() -> None:
    """Whoever starts it with an old Python is told so by a sentence, not by a syntax error."""
    ast.parse((ROOT / "standalone.py").read_text(encoding="utf-8"), feature_version=(3, 8))


def test_file_sizes() -> None:
    too_long = {}
    for path in all_sources():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > (LONGEST_TRAINER if short(path) == "lib_lora_train/train/trainer.py" else LONGEST):
            too_long[short(path)] = lines
    assert too_long == {}
    assert len((ROOT / "scripts/lora_train.py").read_text(encoding="utf-8").splitlines()) < 30


def forbidden(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.ExceptHandler) and not _raises_again(node):
            if node.type is None or _name(node.type) in ("Exception", "BaseException"):
                yield f"{node.lineno}: catches everything"
        elif isinstance(node, ast.Assert):
            yield f"{node.lineno}: assert"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for name in imported(ast.Module([node], [])):
                if name.split(".")[0] in ("pickle", "marshal", "shelve", "dill", "joblib"):
                    yield f"{node.lineno}: {name}"
        elif isinstance(node, ast.Call):
            yield from _forbidden_call(node)


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _forbidden_call(node: ast.Call) -> Iterator[str]:
    name = _name(node.func)
    if name in ("eval", "exec", "compile", "__import__", "torch.load", "os.system", "yaml.load", "os.popen"):
        yield f"{node.lineno}: {name}"
    if name.endswith(".extractall") or (name.endswith("suppress") and any(_name(a) == "Exception" for a in node.args)):
        yield f"{node.lineno}: {name}"
    for keyword in node.keywords:
        if keyword.arg in ("shell", "allow_pickle") and not (
            isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        ):
            yield f"{node.lineno}: {keyword.arg}"


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def test_forbidden_constructs() -> None:
    found = [f"{short(path)}:{what}" for path in all_sources() for what in forbidden(tree(path))]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(x)",
        "eval(x)",
        "subprocess.run(x, shell=True)",
        "try:\n    f()\nexcept:\n    pass",
        "try:\n    f()\nexcept Exception:\n    g()",
        "with contextlib.suppress(Exception):\n    f()",
        "archive.extractall(x)",
        "np.load(x, allow_pickle=True)",
    ],
)
def test_forbidden_constructs_are_seen(code: str) -> None:
    assert list(forbidden(ast.parse(code)))


def test_no_unfinished_work_and_no_machine_paths() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX)\b|/ro" + r"ot/|/ho" + r"me/(?!someone/)\w")
    found = []
    for path in [*all_sources(), *sources(ROOT / "tests"), *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        if path == Path(__file__).resolve():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if marks.search(line):
                found.append(f"{short(path)}:{number}")
    assert found == []


# ---------------------------------------------------------------------- the catalogue


def catalogue(language: str) -> dict[str, object]:
    entries: dict[str, object] = {}
    for path in sorted((PACKAGE / "locales" / language).glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        assert not entries.keys() & content.keys(), f"defined twice: {sorted(entries.keys() & content.keys())}"
        entries |= content
    return entries


def placeholders(entry: object) -> dict[str, set[str]]:
    texts = entry if isinstance(entry, dict) else {"": entry}
    return {part: {name for _, name, _, _ in string.Formatter().parse(text) if name} for part, text in texts.items()}


def test_catalogues_are_complete() -> None:
    english, chinese = catalogue("en"), catalogue("zh-CN")
    assert english.keys() == chinese.keys()
    for code, entry in english.items():
        assert set(placeholders(entry)) in ({""}, {"sentence", "remedy"}), code
        merged = {name for names in placeholders(entry).values() for name in names}
        assert merged == {name for names in placeholders(chinese[code]).values() for name in names}, code
        assert placeholders(entry).keys() == placeholders(chinese[code]).keys(), code


def test_chinese_is_chinese() -> None:
    """Every text with words in it has Chinese ones."""
    han, words = re.compile(r"[\u4e00-\u9fff]"), re.compile(r"[A-Za-z]{2}")
    for code, entry in catalogue("zh-CN").items():
        for text in entry.values() if isinstance(entry, dict) else [entry]:
            fixed = "".join(part for part, _, _, _ in string.Formatter().parse(text))
            assert han.search(fixed) or not words.search(fixed), code


def uses() -> Iterator[tuple[str, str, ast.Call]]:
    """Every place that names a message: where, which code, the call."""
    callers = {"UserError", "Log", "Stage", "message", "error_texts"}
    for path in sources():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and _name(node.func).split(".")[-1] in callers and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield f"{short(path)}:{node.lineno}", first.value, node


def test_every_code_that_is_used_exists() -> None:
    english = catalogue("en")
    wrong = []
    for where, code, call in uses():
        kind = _name(call.func).split(".")[-1]
        if code not in english:
            wrong.append(f"{where}: {code} is not in the catalogue")
        elif isinstance(english[code], str) and kind in ("UserError", "error_texts"):
            wrong.append(f"{where}: {code} is of the other kind")
    assert wrong == []


def test_every_placeholder_is_filled() -> None:
    english = catalogue("en")
    wrong = []
    for where, code, call in uses():
        if code not in english or any(keyword.arg is None for keyword in call.keywords):
            continue
        wanted = {name for names in placeholders(english[code]).values() for name in names}
        kind = _name(call.func).split(".")[-1]
        if kind == "Log":
            values = (
                call.args[1]
                if len(call.args) > 1
                else next((k.value for k in call.keywords if k.arg == "values"), ast.Dict([], []))
            )
            if not isinstance(values, ast.Dict):
                continue
            given = {key.value for key in values.keys if isinstance(key, ast.Constant)}
        elif kind == "Stage":
            given = set()
        else:
            given = {keyword.arg for keyword in call.keywords} | {"where"}
        if not wanted <= given:
            wrong.append(f"{where}: {code} lacks {sorted(wanted - given)}")
    assert wrong == []


def test_every_text_is_used() -> None:
    """By its whole code, or by the beginning of one that is put together, as in f"plan.rank_{subject}"."""
    literals = set()
    for path in sources():
        module = tree(path)
        literals |= {
            node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    begun = tuple(
        first.value
        for path in sources()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.JoinedStr)
        and isinstance(first := node.values[0], ast.Constant)
        and "." in first.value[1:]
    )
    unused = {code for code in catalogue("en").keys() - literals if not code.startswith(begun)}
    assert unused - {"cli.demo", "cli.train", "cli.generate", "cli.info", "cli.export", "cli.check", "cli.prepare", "cli.tag", "cli.tags"} == set()  # made from the command's name


def test_no_two_test_files_have_one_name():
    """Where a folder is no package, pytest knows a file by its name alone, and stops at the second."""
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if not (path.parent / "__init__.py").exists()]
    assert len({path.name for path in files}) == len(files)
