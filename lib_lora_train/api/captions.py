"""Captions proposed from what a picture was drawn with; nothing is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

from fastapi import Depends, Query, Request, Response

from lib_lora_train.api.bodies import Prompt
from lib_lora_train.api.bridge import in_thread
from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Body, Policy, policy
from lib_lora_train.api.replies import reply
from lib_lora_train.api.route import body_chunks, current_call
from lib_lora_train.collection.infotexts import prompt_of, read_infotext
from lib_lora_train.collection.names import shown
from lib_lora_train.collection.proposals import propose_caption

CALL = Depends(current_call)
MAX_PICTURE = 100_000_000  # bytes
MAX_NAME = 1000  # characters
MAX_TRIGGER = 200  # characters that are put in front


@policy(Policy.WRITE, Body.BYTES)
async def from_picture(
    request: Request,
    name: str = Query("", max_length=MAX_NAME),
    trigger_word: str = "",
    call: Call = CALL,
) -> Response:
    """The prompt that stands in a picture and the caption that it proposes; the body is the picture as it is."""

    def read(chunks: Iterator[bytes]) -> str:
        with tempfile.TemporaryFile() as picture:
            for chunk in chunks:
                picture.write(chunk)
            picture.seek(0)
            return prompt_of(read_infotext(picture, shown(name)))

    most = min(MAX_PICTURE, call.studio.limits.file_bytes)
    prompt = await in_thread(read, body_chunks(request, most), call.gate.uploads())
    return reply(_proposal(prompt, trigger_word))


@policy(Policy.WRITE)
def from_prompt(body: Prompt, call: Call = CALL) -> Response:
    """The caption that a prompt proposes."""
    return reply(_proposal(body.prompt, body.trigger_word))


def _proposal(prompt: str, trigger_word: str) -> dict[str, object]:
    """Without a prompt nothing is proposed, not even the trigger word: a caption of one word says that there is
    nothing else to see."""
    return {"prompt": prompt, "caption": propose_caption(prompt, trigger_word[:MAX_TRIGGER]) if prompt else ""}


ROUTES = (
    ("POST", "/captions/from-picture", from_picture),
    ("POST", "/captions/from-prompt", from_prompt),
)
