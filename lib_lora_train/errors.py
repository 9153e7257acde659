"""The one error that is shown to a person: what is wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from lib_lora_train.messages import DEFAULT_LANGUAGE, error_texts


class UserError(Exception):
    """Something the user can put right.

    `code` names an entry of the message catalogue with a `sentence` and a `remedy`; `where` is the file or the
    field it is about, and `values` fill the placeholders of both texts. The page, the command line and the REST
    routes show the same three parts.
    """

    def __init__(self, code: str, where: str = "", **values: object) -> None:
        self.code = code
        self.where = str(where)
        self.values = values
        super().__init__(self.text())

    def sentence(self, language: str = DEFAULT_LANGUAGE) -> str:
        return error_texts(self.code, language, where=self.where, **self.values)[0]

    def remedy(self, language: str = DEFAULT_LANGUAGE) -> str:
        return error_texts(self.code, language, where=self.where, **self.values)[1]

    def text(self, language: str = DEFAULT_LANGUAGE) -> str:
        """Sentence and remedy on one line, led by the file or field when the sentence does not name it."""
        sentence, remedy = self.sentence(language), self.remedy(language)
        lead = f"{self.where}: " if self.where and self.where not in sentence else ""
        return f"{lead}{sentence} {remedy}".strip()

    def as_dict(self, language: str = DEFAULT_LANGUAGE) -> dict[str, str]:
        """The four fields of an error as the REST routes and the job files carry them."""
        return {
            "code": self.code,
            "where": self.where,
            "sentence": self.sentence(language),
            "remedy": self.remedy(language),
        }

    def as_record(self) -> dict[str, object]:
        """As `as_dict` in the default language, with the values, so that a reader can say it in another one."""
        return {**self.as_dict(), "values": {name: _plain(value) for name, value in self.values.items()}}


def in_language(record: Mapping[str, object], language: str) -> dict[str, str]:
    """An `as_record` as `as_dict` gives it in `language`; in its own when the catalogue has changed since."""
    values = record.get("values")
    try:
        error = UserError(str(record["code"]), str(record["where"]), **(values if isinstance(values, dict) else {}))
        return error.as_dict(language)
    except (KeyError, TypeError, ValueError, IndexError):
        return {name: str(record.get(name, "")) for name in ("code", "where", "sentence", "remedy")}


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)
