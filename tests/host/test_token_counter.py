"""Counting tokens of captions with a checkpoint's own vocabulary: the numbers are the tokenizer's, only faster."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.errors import UserError
from lib_lora_train.host import tokens
from lib_lora_train.host.base import HostPaths
from lib_lora_train.host.token_counter import VocabularyCounter, counter_of
from lib_lora_train.host.tokens import count_tokens, load_tokenizer, tokenize

pytest.importorskip("transformers")
ALPHABET = "abc girl Blue hair eyes 019'.,-_()[]:;!?#@&<>|/\\\"é中文😀\u200b\n\t"


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> VocabularyCounter:
    from tests.helpers.tiny import write_tiny_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tiny_tokenizer(folder)
    return VocabularyCounter(load_tokenizer([folder], 10_000, "x"), "tiny")


@given(text=st.text(ALPHABET, max_size=40))
def test_the_number_is_the_tokenizers(counter: VocabularyCounter, text: str) -> None:
    assert counter.count([text, text]) == [count_tokens(counter.tokenizer, text)] * 2


@pytest.mark.parametrize(
    "text",
    [
        "blue hair",
        "a&lt;b",
        "a <|endoftext|> b",
        "<|startoftext|>",
        "a  b ",
        "",
        "it's",
        "&amp;",
        "&lt; <",
        "<|endoftext|>",
    ],
)
def test_what_is_no_plain_word(counter: VocabularyCounter, text: str) -> None:
    assert counter.count([text]) == [count_tokens(counter.tokenizer, text)]


@given(text=st.text("abc girl Blue hair 01'.,-()", max_size=40), limit=st.integers(0, 20))
def test_the_cut_is_where_the_tokens_end(counter: VocabularyCounter, text: str, limit: int) -> None:
    """What stands before the cut is, without blanks, what the first tokens say."""
    cut = counter.cut(text, limit)
    if count_tokens(counter.tokenizer, text) <= limit:
        assert cut == -1
    else:
        kept = [token.replace("</w>", "") for token in counter.tokenizer.tokenize(text)[:limit]]
        assert text[:cut].replace(" ", "").lower() == "".join(kept)
        assert not text[cut].isspace()


@given(text=st.text(ALPHABET, max_size=40), limit=st.integers(0, 20))
def test_a_cut_lies_within_the_text(counter: VocabularyCounter, text: str, limit: int) -> None:
    cut = counter.cut(text, limit)
    assert (cut == -1) == (count_tokens(counter.tokenizer, text) <= limit)
    assert cut < max(len(text), 1)


def test_words_of_several_bytes_are_cut_between_characters(counter: VocabularyCounter) -> None:
    assert counter.count(["中文"]) == [6]
    assert [counter.cut("a 中文", limit) for limit in (0, 1, 3, 4, 5, 7)] == [0, 2, 2, 3, 3, -1]


def test_it_is_what_training_cuts(counter: VocabularyCounter) -> None:
    text = "blue hair, red eyes, " * 20
    ids = tokenize(counter.tokenizer, [text, text[: counter.cut(text, 75)]], 75)
    assert ids[0].equal(ids[1])


def test_its_key_tells_one_vocabulary_from_another(counter: VocabularyCounter) -> None:
    again = VocabularyCounter(counter.tokenizer, "of another name")
    assert again.key == counter.key
    counter.tokenizer.add_tokens(["zzz"])
    assert VocabularyCounter(counter.tokenizer, "tiny").key != again.key


def test_files_that_are_no_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("no", encoding="utf-8")
    (tmp_path / "merges.txt").write_bytes(b"\xff\xfe\x00")
    found = counter_of("x", lambda: load_tokenizer([tmp_path], 10_000, "x"))
    assert found.trouble is not None
    assert found.trouble.code == "host.tokenizer_unreadable"
    assert (found.count(["a", "b"]), found.cut("a", 0), found.key) == ([-1, -1], -1, "")


# ------------------------------------------------------------------ the embedded host


@pytest.fixture
def nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """No vocabulary outside checkpoints; the list says for each look into the hub whether the network was asked."""
    asked: list[bool] = []

    def fetched(download: object, local_files_only: bool) -> Path:
        from huggingface_hub.errors import LocalEntryNotFoundError

        asked.append(not local_files_only)
        raise LocalEntryNotFoundError("not here")

    monkeypatch.setattr(tokens, "_open_clip_file", lambda: None)
    monkeypatch.setattr(tokens, "_fetched", fetched)
    return asked


def host_of(tmp_path: Path, *folders: Path) -> object:
    pytest.importorskip("diffusers", reason="needs diffusers, which a WebUI does not have")
    from lib_lora_train.host.embedded import EmbeddedHost

    return EmbeddedHost(HostPaths(tmp_path, tmp_path, tmp_path), "cpu", folders)


def test_of_the_first_checkpoint_and_nothing_is_loaded(tmp_path: Path, tiny_checkpoint: Path) -> None:
    host = host_of(tmp_path, tiny_checkpoint.parent)
    found = host.token_counter()
    assert (found.name, found.trouble) == ("tiny", None)
    assert found.count(["a girl, zzz"]) == [6]
    assert host.token_counter() is found
    assert host.current() is None
    with host.session() as session:
        session.generate([])
    with host.session():
        host.load(str(tiny_checkpoint), None, lambda event: None)
    assert host.token_counter().key == found.key
    assert host.token_counter().tokenizer is not None


def test_a_checkpoint_without_vocabulary_is_passed_over(
    tmp_path: Path, tiny_checkpoint: Path, nothing_elsewhere: list[bool]
) -> None:
    from safetensors.torch import save_file
    from torch import zeros

    folder = tmp_path / "checkpoints"
    folder.mkdir()
    assert host_of(tmp_path, folder).token_counter() is None
    save_file({"a": zeros(1)}, folder / "a.safetensors")
    found = host_of(tmp_path, folder).token_counter()
    assert (found.trouble.code, found.name, found.count(["x"])) == ("host.not_checkpoint", "a", [-1])
    found = host_of(tmp_path, folder, tiny_checkpoint.parent).token_counter()
    assert (found.trouble, found.name) == (None, "tiny")
    assert nothing_elsewhere == []


def test_a_checkpoint_is_read_without_the_network(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lib_lora_train.host import loading

    asked: list[bool] = []

    def load(folders: object, vocabulary: int, where: str, download: bool = True) -> object:
        asked.append(download)
        raise UserError("host.tokenizer_missing", where)

    monkeypatch.setattr(loading, "load_tokenizer", load)
    found = host_of(tmp_path, tiny_checkpoint.parent).token_counter()
    assert (found.trouble.code, asked) == ("host.tokenizer_missing", [False])


def test_the_network_is_not_asked(nothing_elsewhere: list[bool]) -> None:
    with pytest.raises(UserError) as error:
        load_tokenizer([], tokens.CLIP_VOCABULARY, "x", download=False)
    assert (error.value.code, nothing_elsewhere) == ("host.tokenizer_missing", [False])
    with pytest.raises(UserError):
        load_tokenizer([], tokens.CLIP_VOCABULARY, "x")
    assert nothing_elsewhere == [False, False, True]
