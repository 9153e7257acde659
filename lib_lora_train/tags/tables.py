"""Tables that users bring as CSV files: lists of tags, translations."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from lib_lora_train.dataset.captions import decode
from lib_lora_train.errors import UserError

MAX_BYTES = 64_000_000  # of one file; the largest lists that people share have 10
MAX_ROWS = 1_000_000
MAX_CELL = 200  # characters of a tag or of its translation
_UTF8_MARK = "\ufeff"


def read_table(path: Path, where: str = "") -> Iterator[list[str]]:
    """The rows of a CSV file of the user's that hold anything, in UTF-8, UTF-16 or GBK.

    Raises UserError: words_tags.unreadable, words_tags.too_large, words_tags.damaged (with the line).
    """
    shown = where or path.name
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError("words_tags.too_large", shown, limit=MAX_BYTES // 1_000_000)
        text = decode(path.read_bytes(), shown)[0]
    except OSError as error:
        raise UserError("words_tags.unreadable", shown, reason=error.strerror or "?") from error
    rows = csv.reader(io.StringIO(text.lstrip(_UTF8_MARK).replace("\0", ""), newline=""), skipinitialspace=True)
    try:
        for row in rows:
            if rows.line_num > MAX_ROWS:
                raise UserError("words_tags.too_many", shown, limit=MAX_ROWS)
            if row and row[0].strip():
                yield row
    except csv.Error as error:  # a quote that is never closed takes the rest of the file for one field
        raise UserError("words_tags.damaged", shown, line=rows.line_num) from error
