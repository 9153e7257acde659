"""Reading files from a Hugging Face hub or a mirror of it: bounded in time, and stopped at any moment.

`huggingface_hub` gives the addresses, the mirror (HF_ENDPOINT) and the token. Its `hf_hub_download` is not used: it
cannot be told to stop, it retries by its own rules for longer than half a minute, it follows redirects anywhere, and
it does not compare the hash of what came with the one that the hub announced. So the requests are made here. They run
in a thread of their own, because looking up a name and waiting for a packet cannot be interrupted; whoever waits for
the thread can leave at any time, and the thread ends at its next time limit.

The headers are those that huggingface_hub reads: X-Repo-Commit, X-Linked-Etag (the SHA-256 of a large file) or ETag
(git's hash of a small one), X-Linked-Size. A mirror may answer with a redirect to the hub that carries none of them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from urllib.parse import urljoin, urlsplit

from lib_lora_train.vision.patience import ENOUGH, HubFault, Patience, from_thread

if TYPE_CHECKING:
    from requests import Response

HUB_HOSTS = ("huggingface.co", "hf.co")  # and what lies below them, as the stores of large files do
_CHUNK = 1 << 18
_MOST_HOPS = 6
Result = TypeVar("Result")


@dataclass(frozen=True)
class HubFile:
    """What the hub says of a file. `digest` is a SHA-256, or a SHA-1 as git counts it, in hexadecimal."""

    path: str
    url: str
    commit: str
    size: int
    digest: str


class Hub:
    """A hub at `endpoint` (None: HF_ENDPOINT, or huggingface.co).

    `timeout` is for one connection or one packet; after a fault that may pass, it tries again after each of `pauses`.
    """

    def __init__(
        self, endpoint: str | None = None, *, timeout: float = 8.0, pauses: tuple[float, ...] = (1.0, 3.0)
    ) -> None:
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        self._timeout, self._pauses = timeout, pauses

    def page(self, repository: str, folder: str = "") -> str:
        """Where a person finds the files."""
        return f"{self.endpoint}/{repository}/tree/main/{folder}".rstrip("/")

    def look(self, repository: str, path: str, revision: str, patience: Patience) -> HubFile:
        """What `path` is at `revision` (a branch or a commit). Raises HubFault, Stopped."""
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(repository, path, revision=revision, endpoint=self.endpoint)
        headers = self._patiently(lambda: next(self._answers(lambda give: self._head(url, give), patience)), patience)
        commit, size, digest = headers["commit"], headers["size"], headers["digest"]
        if not (
            re.fullmatch(r"[0-9a-f]{40}", commit)
            and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", digest)
            and size.isdigit()
        ):
            raise HubFault("models.not_a_hub")
        if re.fullmatch(r"[0-9a-f]{40}", revision) and revision != commit:
            raise HubFault("models.not_a_hub")
        pinned = hf_hub_url(repository, path, revision=commit, endpoint=self.endpoint)
        return HubFile(path, pinned, commit, int(size), digest)

    def download(self, file: HubFile, target: BinaryIO, patience: Patience, progress: Callable[[int], None]) -> str:
        """Writes `file` to `target`, an empty file open for writing; returns the SHA-256. `progress` hears the bytes
        that are there. A cut is continued where it was. Raises HubFault (models.wrong_hash too), Stopped, OSError.
        """
        state = _Incoming(file, target)
        self._patiently(lambda: self._receive(state, patience, progress), patience, lambda: state.count)
        return state.checked()

    def _receive(self, state: _Incoming, patience: Patience, progress: Callable[[int], None]) -> None:
        for item in self._answers(lambda give: self._get(state.file.url, state.count, give), patience):
            if isinstance(item, int):
                state.start_at(item)
            else:
                state.add(item)
                patience.moved(len(item))
                progress(state.count)
        if state.count < state.file.size:
            raise HubFault("models.cut", again=True)

    def _answers(self, work: Callable[[Callable[[object], None]], None], patience: Patience) -> Iterator:
        return from_thread(work, lambda error: _fault_of(error, self._host()), patience)

    def _patiently(self, work: Callable[[], Result], patience: Patience, done: Callable[[], int] = lambda: 0) -> Result:
        """Tries again after a fault that may pass; `done` counts bytes, and whoever moves has all tries again."""
        pauses, before = list(self._pauses), done()
        while True:
            try:
                return work()
            except HubFault as fault:
                if done() - before >= ENOUGH:
                    pauses, before = list(self._pauses), done()
                if not (fault.again and pauses):
                    raise
                patience.sleep(pauses.pop(0))

    def _head(self, url: str, give: Callable[[object], None]) -> None:
        found: dict[str, str] = {"commit": "", "digest": "", "size": ""}
        for response in self._hops("HEAD", url, {}):
            _note_headers(found, response)
            if all(found.values()):
                break
        give(found)

    def _get(self, url: str, start: int, give: Callable[[object], None]) -> None:
        ranged = {"Range": f"bytes={start}-"} if start else {}
        for response in self._hops("GET", url, ranged):
            if response.is_redirect:
                continue
            if response.headers.get("Content-Type", "").startswith("text/html"):
                raise HubFault("models.web_page")
            continued = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
                f"bytes {start}-"
            )
            give(start if continued else 0)
            for chunk in response.iter_content(_CHUNK):
                give(chunk)

    def _hops(self, method: str, url: str, extra: Mapping[str, str]) -> Iterator[Response]:
        """The answers from the first to the last, each closed after use; raises HubFault for one that is a refusal."""
        import requests
        from huggingface_hub.utils import build_hf_headers

        with requests.Session() as session:
            for _ in range(_MOST_HOPS):
                # The token is for the hub that was asked, and for no store that it refers to.
                token = None if _place(url) == _place(self.endpoint) else False
                headers = {
                    **build_hf_headers(token=token, library_name="lora-train"),
                    **extra,
                    "Accept-Encoding": "identity",
                }
                with session.request(
                    method, url, headers=headers, timeout=self._timeout, stream=True, allow_redirects=False
                ) as response:
                    _refuse(response)
                    target = urljoin(url, response.headers["Location"]) if response.is_redirect else ""
                    if target and not self._trusted(target):
                        raise HubFault("models.redirected", host=urlsplit(target).hostname or target[:100])
                    yield response
                if not target:
                    return
                url = target
        raise HubFault("models.redirected", host=self._host())

    def _trusted(self, url: str) -> bool:
        """Whether a redirect may go there: the endpoint itself, hosts below it, and the hub's own by HTTPS."""
        if _place(url) == _place(self.endpoint):
            return True
        host, home = urlsplit(url).hostname or "", self._host()
        named = (*HUB_HOSTS, home) if re.search(r"[a-z]", home) and "." in home else HUB_HOSTS
        return urlsplit(url).scheme == "https" and any(host == name or host.endswith(f".{name}") for name in named)

    def _host(self) -> str:
        try:
            return urlsplit(self.endpoint).hostname or self.endpoint
        except ValueError:  # no address at all, as the request will find too
            return self.endpoint


class _Digests:
    """The hashes that a hub may have announced: SHA-256 of large files; of small ones SHA-1 as git counts it, with
    the length in front, or plain as some mirrors do.
    """

    def __init__(self, size: int) -> None:
        self.sha256 = hashlib.sha256()
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    def update(self, chunk: bytes) -> None:
        for digest in (self.sha256, self._sha1, self._git):
            digest.update(chunk)

    def include(self, announced: str) -> bool:
        return announced in (self.sha256.hexdigest(), self._sha1.hexdigest(), self._git.hexdigest())


class _Incoming:
    """A file on its way: where it is written, and its hashes so far."""

    def __init__(self, file: HubFile, target: BinaryIO) -> None:
        self.file, self._target = file, target
        self.count, self._digests = 0, _Digests(file.size)

    def start_at(self, position: int) -> None:
        if position != self.count:  # the server begins anew
            self._target.seek(0)
            self._target.truncate()
            self.count, self._digests = 0, _Digests(self.file.size)

    def add(self, chunk: bytes) -> None:
        if self.count + len(chunk) > self.file.size:
            raise HubFault("models.wrong_hash")
        self._target.write(chunk)
        self.count += len(chunk)
        self._digests.update(chunk)

    def checked(self) -> str:
        if not self._digests.include(self.file.digest):
            raise HubFault("models.wrong_hash")
        return self._digests.sha256.hexdigest()


def is_same(path: Path, file: HubFile) -> bool:
    """Whether the file on disk is what the hub has. Raises OSError."""
    size = path.stat().st_size
    digests = _Digests(size)
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digests.update(chunk)
    return size == file.size and digests.include(file.digest)


def _note_headers(found: dict[str, str], response: Response) -> None:
    """On a redirect, ETag and Content-Length are of its own small page."""
    headers = response.headers
    found["commit"] = found["commit"] or headers.get("X-Repo-Commit", "")
    digest, size = headers.get("X-Linked-Etag", ""), headers.get("X-Linked-Size", "")
    if not response.is_redirect:
        digest, size = digest or headers.get("ETag", ""), size or headers.get("Content-Length", "")
    found["digest"] = found["digest"] or digest.removeprefix("W/").strip('"').lower()
    found["size"] = found["size"] or size


def _refuse(response: Response) -> None:
    status = response.status_code
    if status in (401, 403):
        raise HubFault("models.no_access", status=status)
    if status == 404:
        raise HubFault("models.not_found")
    if status == 429:
        raise HubFault("models.too_many", again=True)
    if status >= 400 or not (status in (200, 206) or response.is_redirect):
        raise HubFault("models.server", again=status >= 500, status=status)


def _fault_of(error: Exception, host: str) -> HubFault:
    import requests

    if isinstance(error, requests.exceptions.SSLError):
        return HubFault("models.certificate", host=host)
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in str(error):
        return HubFault("models.no_answer", again=True)
    if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
        return HubFault("models.cut", again=True)
    return HubFault("models.no_connection", again=True, host=host)


def _place(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
