"""The command line: `demo`, `train`, `generate`, `info`, `export`, `serve`; `check`, `prepare` and `tag` stand in
`prepare_commands`, `resize`, `merge`, `convert` and `scrub` in `lora_commands`, `grid` and `publish` in `grid_commands`.

Each command is one function; what it needs is imported inside it, so that `--help` and `info` do not wait for torch
and diffusers. Exit codes: 0 done, 1 an error of the program, 2 an error of the user, 130 stopped by Ctrl+C.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path, write_text
from lib_lora_train.flags import Parser, add_settings, kohya_summary, refuse_unknown
from lib_lora_train.grid_commands import add_grid_commands
from lib_lora_train.lora_commands import add_lora_commands
from lib_lora_train.messages import message
from lib_lora_train.prepare_commands import add_prepare_commands
from lib_lora_train.serve import DEMO, DEMO_NAME, add_options, serve
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.reading import Loaded, from_flat, load_settings, parse_resolution, validate
from lib_lora_train.settings.values import parse_text
from lib_lora_train.signals import Log, Stopped
from lib_lora_train.tags_commands import add_tags_command
from lib_lora_train.terminal import BROKEN, DONE, STOPPED, USER_ERROR, terminal_language, watched

_LORA_TAG = re.compile(r"<lora:([^:<>]+)(?::([-+0-9.eE]+))?>")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with _Reporter(traceback_wanted="--traceback" in words) as reporter:
        reporter.code = run([word for word in words if word != "--traceback"])
    return reporter.code


def run(words: list[str]) -> int:
    """As `main`, but errors are raised."""
    parser = make_parser()
    options, rest = parser.parse_known_args(words)
    if not hasattr(options, "command"):
        parser.print_help()
        return USER_ERROR if words else DONE
    refuse_unknown(rest, options.parser)
    return options.command(options)


def make_parser() -> argparse.ArgumentParser:
    """All commands with their options; help texts in the language of the terminal."""
    language = terminal_language()
    parser = Parser(prog="lora-train", allow_abbrev=False, epilog=message("cli.traceback", language))
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)

    def add(name: str, command: Callable[[argparse.Namespace], int], **extra: object) -> argparse.ArgumentParser:
        text = message(f"cli.{name}", language)
        child = commands.add_parser(name, help=text, description=text, allow_abbrev=False, **extra)
        child.set_defaults(command=command, parser=child)
        return child

    demo = add("demo", demo_command)
    demo.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help=message("cli.demo_out", language))

    shape = argparse.RawDescriptionHelpFormatter
    usage = "lora-train train [--config_file FILE] [--SETTING VALUE ...]"
    train = add("train", train_command, usage=usage, formatter_class=shape, epilog=kohya_summary(language))
    train.add_argument("--config_file", type=Path, metavar="FILE", help=message("cli.config_file", language))
    add_settings(train)

    generate = add("generate", generate_command)
    generate.add_argument("prompt", help=message("cli.prompt", language))
    generate.add_argument("--checkpoint", required=True, metavar="FILE", help=message("cli.checkpoint", language))
    generate.add_argument("--out", type=Path, required=True, metavar="FILE", help=message("cli.generate_out", language))
    generate.add_argument(
        "--lora_dir", type=Path, default=Path(), metavar="DIR", help=message("cli.lora_dir", language)
    )
    generate.add_argument("--negative_prompt", default="", metavar="TEXT")
    generate.add_argument("--resolution", default="512", metavar="PX", help=message("cli.resolution", language))
    generate.add_argument("--steps", type=int, default=20)
    generate.add_argument("--cfg_scale", type=float, default=7.0)
    generate.add_argument("--seed", type=int, default=0)
    generate.add_argument("--clip_skip", type=int, default=1)

    info = add("info", info_command)
    info.add_argument("file", type=Path, metavar="FILE")
    info.add_argument("--json", action="store_true", help=message("cli.json", language))

    export = add("export", export_command)
    export.add_argument("folder", metavar="FOLDER", help=message("cli.export_folder", language))
    export.add_argument("file", type=Path, metavar="FILE", help=message("cli.export_file", language))

    add_prepare_commands(add, language)
    add_tags_command(add, language)
    add_grid_commands(add, language)
    add_lora_commands(add, language)
    add_options(add("serve", serve_command), language)
    return parser


def demo_command(options: argparse.Namespace) -> int:
    from lib_lora_train.demo_run import run_demo

    with watched() as (progress, commands):
        progress.line(_torch_and_device())
        report = run_demo(options.out, progress, commands, terminal_language())
        progress.close()
    print(message("cli.demo_done", terminal_language(), report=report))
    return DONE


def train_command(options: argparse.Namespace) -> int:
    settings, notes = train_settings(options)

    from lib_lora_train.host.base import HostPaths
    from lib_lora_train.host.embedded import EmbeddedHost
    from lib_lora_train.train.trainer import train

    output = Path(settings.run.output_dir)
    host = EmbeddedHost(HostPaths(projects=output, loras=output, models=output))
    with watched() as (progress, commands):
        progress.line(_torch_and_device())
        for note in notes:
            progress(note)
        result = train(host, settings, progress, commands)
        progress.close()
    print(message("cli.trained", terminal_language(), steps=result.steps, file=result.lora or "-"))
    return DONE if result.outcome == "done" else STOPPED


def train_settings(options: argparse.Namespace) -> tuple[TrainSettings, list[Log]]:
    """The config file's settings with the flags on top, checked, and what is to be said about them."""
    given = {name: value for name, value in vars(options).items() if name not in ("command", "parser", "config_file")}
    base = load_settings(options.config_file) if options.config_file else Loaded(TrainSettings())
    loaded = from_flat(given, base.settings, parse_text)
    return loaded.settings, [*base.notes, *loaded.notes, *validate(loaded.settings)]


def generate_command(options: argparse.Namespace) -> int:
    from lib_lora_train.host.base import GenerateRequest, HostPaths
    from lib_lora_train.host.embedded import EmbeddedHost

    width, height = parse_resolution(options.resolution)
    prompt, lora, weight = split_lora_tag(options.prompt, options.lora_dir)
    folder = options.lora_dir
    host = EmbeddedHost(HostPaths(projects=folder, loras=folder, models=folder))
    request = GenerateRequest(
        checkpoint=options.checkpoint,
        prompt=prompt,
        negative_prompt=options.negative_prompt,
        width=width,
        height=height,
        steps=options.steps,
        cfg_scale=options.cfg_scale,
        seed=options.seed,
        clip_skip=options.clip_skip,
        lora=lora,
        weight=weight,
    )
    with watched() as (progress, commands), host.session(commands, progress) as session:
        progress.line(_torch_and_device())
        picture = session.generate([request])[0]
    with atomic_path(options.out) as temporary:
        picture.image.save(temporary, format="PNG")
    print(options.out)
    return DONE


def info_command(options: argparse.Namespace) -> int:
    from lib_lora_train.network.files import describe_lora

    described = asdict(describe_lora(options.file))
    print(json.dumps(described, ensure_ascii=False, indent=2) if options.json else as_lines(described))
    return DONE


def export_command(options: argparse.Namespace) -> int:
    from lib_lora_train.host.export import export_single_file

    folder = DEMO if options.folder == DEMO_NAME else Path(options.folder)
    for path in export_single_file(folder, options.file.expanduser()):
        print(path)
    return DONE


def serve_command(options: argparse.Namespace) -> int:
    serve(options, terminal_language())
    # The interpreter leaves: a thread that still reads a vocabulary finds no more of it, and has nothing to say.
    threading.excepthook = lambda _: None
    return DONE


def split_lora_tag(prompt: str, folder: Path) -> tuple[str, Path | None, float]:
    """The prompt without its `<lora:name:weight>`, the file in `folder` (or below it), and the weight.

    Raises UserError: cli.two_loras, cli.lora_weight, cli.no_lora.
    """
    tags = _LORA_TAG.findall(prompt)
    if not tags:
        return prompt, None, 1.0
    if len(tags) > 1:
        raise UserError("cli.two_loras", "prompt")
    name, weight = tags[0]
    found = sorted(path for path in folder.rglob("*.safetensors") if path.stem == name)
    if not found:
        raise UserError("cli.no_lora", name, folder=folder)
    try:
        number = float(weight) if weight else 1.0
    except ValueError as error:
        raise UserError("cli.lora_weight", "prompt", value=weight) from error
    return re.sub(r"\s*,\s*$", "", _LORA_TAG.sub("", prompt)).strip(), found[0], number


def as_lines(facts: dict[str, object], indent: str = "") -> str:
    """Nested facts as indented `name: value` lines."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}:", as_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {value}")
    return "\n".join(line for line in lines if line)


def _torch_and_device() -> str:
    import torch

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
    return message("cli.device", terminal_language(), version=torch.__version__, device=device)


class _Reporter:
    """What the user sees of an error: one line, and for one that is ours to mend the file with the trace."""

    def __init__(self, traceback_wanted: bool) -> None:
        self.code = BROKEN
        self._traceback_wanted = traceback_wanted

    def __enter__(self) -> _Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or isinstance(error, SystemExit):
            return False
        language = terminal_language()
        if isinstance(error, KeyboardInterrupt | Stopped):
            self.code, text = STOPPED, message("cli.stopped", language)
        elif isinstance(error, UserError):
            self.code, text = USER_ERROR, error.text(language)
        else:
            self.code, text = BROKEN, self._unexpected(error, language)
        if self._traceback_wanted:
            traceback.print_exception(kind, error, trace)
        print(text, file=sys.stderr)
        return True

    def _unexpected(self, error: BaseException, language: str) -> str:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        if self._traceback_wanted:
            return message("cli.unexpected", language, what=what)
        file = Path(tempfile.gettempdir()) / f"lora-train-error-{os.getpid()}.txt"
        write_text(file, "".join(traceback.format_exception(error)))
        return message("cli.unexpected_with_file", language, what=what, file=file)
