"""Captions by a vision model behind an OpenAI-compatible endpoint that the operator runs.

Where it is, is set by the environment of the server alone: a page that could name an address would let its visitors
reach whatever the server reaches.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from typing import IO
from urllib.parse import urlsplit

from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.signals import Commands, EventSink, Stopped

URL, MODEL, KEY, PROMPT = (f"LORA_TRAIN_CAPTION_{name}" for name in ("ENDPOINT", "MODEL", "KEY", "PROMPT"))
DEFAULT_PROMPT = (
    "Describe this picture in one or two plain sentences for training an image model: subject, clothes, pose, "
    "expression, place, light and framing. Write only what can be seen."
)
MAX_SIDE = 1024  # of what is sent, in pixels
MAX_ANSWER_BYTES = 1_000_000
MAX_CAPTION = 2_000  # characters; the text encoder reads far less
MAX_TOKENS = 300
_AGAIN = (429, 500, 502, 503, 504)
_LONGEST_PAUSE = 10.0  # seconds, whatever Retry-After says
_POLL_SECONDS = 0.05
_LOOPBACK = re.compile(r"^(localhost|127\.\d+\.\d+\.\d+|::1)$")
_THOUGHTS = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Endpoint:
    """Implements `host.base.Captioner`. `url` is the API's base, as ".../v1", or the whole ".../chat/completions".

    `timeout` is for one answer, in seconds, connecting included; a failed try is repeated `tries` - 1 times after
    `pause`, twice `pause`, ... seconds. The key stands in no message, log or file.
    """

    url: str
    model: str = ""
    secret: str = field(default="", repr=False)
    prompt: str = DEFAULT_PROMPT
    timeout: float = 120.0
    tries: int = 3
    pause: float = 1.0
    name: str = "endpoint"

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Endpoint | None:
        """As the operator has set it up; None when not."""
        url = environment.get(URL, "").strip()
        if not url:
            return None
        prompt = environment.get(PROMPT, "").strip() or DEFAULT_PROMPT
        return cls(url, environment.get(MODEL, "").strip(), environment.get(KEY, "").strip(), prompt)

    @property
    def key(self) -> str:
        asked = "\x00".join((self.url, self.model, self.prompt))
        return f"endpoint-{sha256(asked.encode()).hexdigest()[:16]}"

    def trouble(self) -> UserError | None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            usable = False
        usable = usable and all(
            text.isascii() and text.isprintable() and " " not in text for text in (self.url, self.secret)
        )
        return None if usable else UserError("tagging.endpoint_address", URL)

    @contextmanager
    def loaded(
        self, commands: Commands | None = None, events: EventSink | None = None
    ) -> Iterator[Callable[[Image.Image], str]]:
        """See `host.base.Captioner.loaded`. Raises UserError: tagging.endpoint_*."""
        trouble = self.trouble()
        if trouble is not None:
            raise trouble
        commands = commands or Commands()
        yield lambda image: self._caption(image, commands)

    def _caption(self, image: Image.Image, commands: Commands) -> str:
        body = json.dumps(_question(self.model, self.prompt, image)).encode()
        for number in range(1, self.tries + 1):
            try:
                return _caption_in(_waited(lambda: self._asked(body), self.timeout, commands))
            except _Again as again:
                if number == self.tries:
                    raise again.error from again
                _sleep(min(max(self.pause * number, again.seconds), _LONGEST_PAUSE), commands)
        raise ValueError("tries must be at least 1")

    def _asked(self, body: bytes) -> bytes:
        """The answer's body. Raises UserError, and _Again for what may go better the next time."""
        address = self.url.rstrip("/")
        address = address if address.endswith("/chat/completions") else f"{address}/chat/completions"
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "lora-train"}
        if self.secret:
            headers["Authorization"] = f"Bearer {self.secret}"
        request = urllib.request.Request(address, data=body, headers=headers, method="POST")
        host = urlsplit(address).hostname or ""
        # A proxy of the system knows nothing of servers on this machine.
        proxies = [urllib.request.ProxyHandler({})] if _LOOPBACK.match(host) else []
        opener = urllib.request.build_opener(_SameHost(), *proxies)
        try:
            with opener.open(request, timeout=self.timeout) as answer:
                data = _read(answer, time.monotonic() + self.timeout)
        except urllib.error.HTTPError as error:
            raise _refusal(error, host) from error
        except TimeoutError as error:
            raise UserError("tagging.endpoint_slow", host, seconds=round(self.timeout)) from error
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            cause = getattr(error, "reason", error)
            if isinstance(cause, TimeoutError):
                raise UserError("tagging.endpoint_slow", host, seconds=round(self.timeout)) from error
            words = getattr(cause, "strerror", None) or type(cause).__name__
            unreachable = UserError("tagging.endpoint_unreachable", host, reason=words)
            raise (unreachable if isinstance(cause, socket.gaierror) else _Again(unreachable)) from error
        if len(data) > MAX_ANSWER_BYTES:
            raise UserError("tagging.endpoint_answer", host)
        return data


class _Again(Exception):  # noqa: N818 - not an error by itself
    """It may go better the next time, after `seconds`."""

    def __init__(self, error: UserError, seconds: float = 0.0) -> None:
        super().__init__(error.code)
        self.error, self.seconds = error, seconds


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects within one server only: the picture and the key are for no other."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise UserError("tagging.endpoint_redirect", old.hostname or "", other=new.hostname or "?")
        return urllib.request.Request(newurl, data=req.data, headers=dict(req.header_items()), method="POST")


def reduced_jpeg(image: Image.Image, side: int = MAX_SIDE) -> bytes:
    """What is sent: RGB, at most `side` pixels in either direction, without anything that the file said besides."""
    small = image.convert("RGB")
    if max(small.size) > side:
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
    target = BytesIO()
    small.save(target, "JPEG", quality=90)
    return target.getvalue()


def _read(answer: http.client.HTTPResponse, deadline: float) -> bytes:
    """At most a byte more than is allowed. Raises TimeoutError for an answer that drips until after the deadline."""
    data = b""
    while len(data) <= MAX_ANSWER_BYTES and (chunk := answer.read1(65536)):
        data += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
    return data


def _question(model: str, prompt: str, image: Image.Image) -> dict[str, object]:
    picture = f"data:image/jpeg;base64,{base64.b64encode(reduced_jpeg(image)).decode()}"
    content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": picture}}]
    question: dict[str, object] = {"messages": [{"role": "user", "content": content}], "max_tokens": MAX_TOKENS}
    return {"model": model, **question} if model else question


def _caption_in(data: bytes) -> str:
    """Raises UserError("tagging.endpoint_answer") for anything but a chat completion with a text."""
    try:
        text = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError("tagging.endpoint_answer", "endpoint") from error
    if not isinstance(text, str):
        raise UserError("tagging.endpoint_answer", "endpoint")
    words = "".join(character if character.isprintable() else " " for character in _THOUGHTS.sub(" ", text))
    return " ".join(words.split()).strip("\"' ")[:MAX_CAPTION]


def _refusal(error: urllib.error.HTTPError, host: str) -> UserError | _Again:
    """What a status other than 200 means."""
    with error:  # its body, if any, is nobody's business
        code = int(error.code)
    if code in (401, 403):
        return UserError("tagging.endpoint_key", KEY, status=code)
    if code in (400, 404, 405, 413, 415, 422):
        return UserError("tagging.endpoint_refused", host, status=code)
    failed = UserError("tagging.endpoint_failed", host, status=code)
    if code not in _AGAIN:
        return failed
    wait = error.headers.get("Retry-After", "") if error.headers else ""
    return _Again(failed, float(wait) if wait.isascii() and wait.isdigit() else 0.0)


def _waited(work: Callable[[], bytes], timeout: float, commands: Commands) -> bytes:
    """`work()` in a thread of its own, so that a stop, or an answer that drips, does not hold this one.

    The thread left behind ends with its socket's timeout. Raises what `work` raises, Stopped, and
    UserError("tagging.endpoint_slow").
    """
    made: list[bytes] = []
    failed: list[Exception] = []
    over = threading.Event()

    def run() -> None:
        try:
            made.append(work())
        except (UserError, _Again) as error:
            failed.append(error)
        finally:
            over.set()

    threading.Thread(target=run, name="lora-train-endpoint", daemon=True).start()
    deadline = time.monotonic() + timeout
    while not over.wait(_POLL_SECONDS):
        if commands.stopping:
            raise Stopped
        if time.monotonic() > deadline:
            raise UserError("tagging.endpoint_slow", "endpoint", seconds=round(timeout))
    if failed:
        raise failed[0]
    return made[0]


def _sleep(seconds: float, commands: Commands) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if commands.stopping:
            raise Stopped
        time.sleep(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))
