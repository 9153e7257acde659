"""Captions: read from whatever encoding they come in, and composed anew for each showing."""

from __future__ import annotations

import random
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from lib_lora_train.errors import UserError
from lib_lora_train.settings.tables import DatasetSettings
from lib_lora_train.signals import Log

MAX_CAPTION_BYTES = 262_144  # some thousand tags; more is not a caption but a mistake
_ENDINGS = (".txt", ".caption")
# Characters that nobody sees and that make two equal tags differ: zero-width space, word joiner, byte order mark,
# and the marks that turn the direction of text. Joiners stay: Persian, Hindi and emoji need them.
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass
class ReadCaption:
    """The text of a caption file in one line, or None when there is none, with what was done to it."""

    text: str | None
    notes: list[Log] = field(default_factory=list)


def caption_paths(image: Path, extension: str) -> list[Path]:
    """Where the caption of `image` may stand, first choice first: `extension`, then .txt, then .caption."""
    chosen = extension if extension.startswith(".") else f".{extension}"
    return [image.with_name(image.stem + ending) for ending in dict.fromkeys((chosen, *_ENDINGS))]


def read_caption(path: Path, where: str = "") -> ReadCaption:
    """The first line with text in a caption file, as kohya reads it; None when the file is empty or blank.

    UTF-8 with or without a byte order mark; else UTF-16 with its mark; else GBK (as gb18030); else Windows-1252.
    Nothing is ever written back. Raises UserError("caption.not_file", "caption.unreadable", "caption.too_large" or
    "caption.encoding").
    """
    shown = where or path.name
    try:
        information = path.stat()
        if not stat.S_ISREG(information.st_mode):
            raise UserError("caption.not_file", shown)
        if information.st_size > MAX_CAPTION_BYTES:
            raise UserError("caption.too_large", shown, limit=MAX_CAPTION_BYTES // 1024)
        data = path.read_bytes()
    except OSError as error:
        raise UserError("caption.unreadable", shown, reason=error.strerror or "?") from error
    text, encoding = decode(data, shown)
    notes = [] if encoding == "utf-8" else [Log("caption.encoding_used", {"where": shown, "encoding": encoding})]
    seen = visible(text)
    if len(seen) != len(text):
        notes.append(Log("caption.invisible", {"where": shown, "count": len(text) - len(seen)}))
    lines = [line.strip() for line in seen.splitlines() if line.strip()]
    if len(lines) > 1:
        notes.append(Log("caption.first_line", {"where": shown, "count": len(lines)}, "warning"))
    return ReadCaption(lines[0] if lines else None, notes)


def visible(text: str) -> str:
    """The text without the characters that nobody sees, and without control characters other than line ends."""
    return _INVISIBLE.sub("", _CONTROL.sub("", text))


def decode(data: bytes, where: str) -> tuple[str, str]:
    """Text of `data` and the encoding it was read with. Raises UserError("caption.encoding")."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16"), "UTF-16"
        except UnicodeDecodeError as error:
            raise UserError("caption.encoding", where) from error
    try:
        return data.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        chinese = _decode_gbk(data)
    if chinese is not None:
        return chinese, "GBK"
    try:
        return data.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError as error:
        raise UserError("caption.encoding", where) from error


def _decode_gbk(data: bytes) -> str | None:
    """`data` as GBK, when it looks like it.

    Western text often decodes as GBK too: one accented byte swallows the letter after it. In Chinese text nearly
    all second bytes are high ones, so more low than high ones mean Western.
    """
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return None
    seconds = [character.encode("gb18030")[1] for character in text if character > "\x7f"]
    return text if sum(byte >= 0x80 for byte in seconds) * 2 > len(seconds) else None


def captions_vary(settings: DatasetSettings) -> bool:
    """Whether a picture's caption differs from showing to showing, so that encoded captions cannot be kept."""
    return bool(
        settings.shuffle_caption
        or settings.caption_tag_dropout_rate > 0
        or settings.caption_dropout_rate > 0
        or settings.caption_dropout_every_n_epochs > 0
    )


def compose(caption: str, settings: DatasetSettings, epoch: int, draws: random.Random) -> str:
    """The caption of one showing, in kohya's order.

    Prefix and suffix; dropout of the whole caption (by rate, and in every n-th epoch; `epoch` counts from 0, so with
    n = 2 the second epoch is the first without); split at commas; fixed part aside (before the separator mark, and
    after a second one, else the first `keep_tokens` tags); shuffle; tag dropout; joined by ", ". A caption whose tags
    are neither shuffled nor dropped stays as written, but for the separator mark, which no model should learn.
    """
    text = " ".join(part for part in (settings.caption_prefix, caption, settings.caption_suffix) if part)
    if settings.caption_dropout_rate > 0 and draws.random() < settings.caption_dropout_rate:
        return ""
    every = settings.caption_dropout_every_n_epochs
    if every > 0 and (epoch + 1) % every == 0:
        return ""
    mark = settings.keep_tokens_separator
    marked = bool(mark) and mark in text
    if not (marked or settings.shuffle_caption or settings.caption_tag_dropout_rate > 0):
        return text
    if marked:
        parts = [_tags(part) for part in text.split(mark, 2)]
        front, free, back = parts[0], parts[1], parts[2] if len(parts) > 2 else []
    else:
        tags = _tags(text)
        front, free, back = tags[: settings.keep_tokens], tags[settings.keep_tokens :], []
    if settings.shuffle_caption:
        draws.shuffle(free)
    if settings.caption_tag_dropout_rate > 0:
        free = [tag for tag in free if draws.random() >= settings.caption_tag_dropout_rate]
    return ", ".join([*front, *free, *back])


def _tags(text: str) -> list[str]:
    """Tags between commas; the nothing between doubled commas is none."""
    return [tag.strip() for tag in text.split(",") if tag.strip()]
