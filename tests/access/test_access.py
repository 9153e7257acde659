"""Exposure, page sessions, ownership, and the language of a page."""

from __future__ import annotations

import pytest

from lib_lora_train.access import Exposure, Sessions, Visitor, check_folders, check_owner, is_mine, pick_language
from lib_lora_train.errors import UserError

LOCAL = Exposure()
LOGIN = Exposure(local=False, login=True)
OPEN = Exposure(local=False)


def test_exposure_table() -> None:
    """names folders, writes without a page, quotas"""
    table = {
        LOCAL: (True, True, False),
        Exposure(hide_paths=True): (False, True, False),
        LOGIN: (False, False, False),
        Exposure(local=False, rest_login=True): (False, False, False),
        OPEN: (False, False, True),
        Exposure(local=False, open_rest=True): (False, True, True),
    }
    for exposure, wanted in table.items():
        assert (exposure.names_folders, exposure.writes_without_page, exposure.has_quotas) == wanted, exposure


def test_folders_only_locally() -> None:
    check_folders(LOCAL, "folder")
    for exposure in (LOGIN, OPEN, Exposure(hide_paths=True)):
        with pytest.raises(UserError) as caught:
            check_folders(exposure, "folder")
        assert caught.value.code == "access.folders"


def test_owner_counts_only_where_there_are_logins() -> None:
    anna, ben = Visitor("anna"), Visitor("ben")
    assert is_mine(LOGIN, anna, "anna") and is_mine(LOGIN, anna, "") and not is_mine(LOGIN, ben, "anna")
    assert is_mine(OPEN, ben, "anna")
    with pytest.raises(UserError) as caught:
        check_owner(LOGIN, ben, "anna", "run")
    assert caught.value.code == "access.not_owner"


def test_sessions_are_found_by_their_token_only() -> None:
    sessions = Sessions()
    first, second = sessions.open("anna"), sessions.open("ben")
    assert first.token != second.token
    assert sessions.find(first.token) == first
    assert sessions.find("") is None and sessions.find(first.token[:-1]) is None


def test_the_page_unused_for_longest_is_forgotten() -> None:
    sessions = Sessions(most=2)
    first, second = sessions.open(), sessions.open()
    sessions.find(first.token)
    sessions.open()
    assert sessions.find(first.token) is not None
    assert sessions.find(second.token) is None


@pytest.mark.parametrize(
    ("setting", "accepted", "language"),
    [
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("", "zh", "zh-CN"),
        ("None", "zh-TW", "zh-CN"),
        ("zh_CN", "en-US", "zh-CN"),
        ("", "en-US,en;q=0.9", "en"),
        ("", "de-DE", "en"),
        ("de_DE", "zh-CN", "en"),
        ("", "", "en"),
    ],
)
def test_language(setting: str, accepted: str, language: str) -> None:
    assert pick_language(setting, accepted) == language
