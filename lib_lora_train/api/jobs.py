"""What runs now, what waits, and telling it things."""

from __future__ import annotations

from fastapi import Depends, Response

from lib_lora_train.access import is_mine
from lib_lora_train.api.bodies import Nothing, Place, Stopping
from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Policy, policy
from lib_lora_train.api.replies import reply
from lib_lora_train.api.route import current_call
from lib_lora_train.jobs import Job

CALL = Depends(current_call)


@policy(Policy.READ)
def read_live(call: Call = CALL) -> Response:
    """All that a page shows of the running job, and the line behind it."""
    return reply(call.studio.live(call.visitor))


@policy(Policy.READ)
def list_jobs(call: Call = CALL) -> Response:
    """The running job, those in line, those that ended lately."""
    return reply({"jobs": [_shape(job, call) for job in call.studio.jobs(call.visitor)]})


@policy(Policy.READ)
def read_job(job_id: str, call: Call = CALL) -> Response:
    """One job."""
    return reply(_shape(call.studio.job(call.visitor, job_id), call))


@policy(Policy.WRITE)
def stop(job_id: str, body: Stopping, call: Call = CALL) -> Response:
    """Ends a job after the step in progress; `save` first."""
    return _told(call, job_id, "stop_and_save" if body.save else "stop")


@policy(Policy.WRITE)
def save(job_id: str, body: Nothing, call: Call = CALL) -> Response:
    """Saves the LoRA and the state now."""
    return _told(call, job_id, "save")


@policy(Policy.WRITE)
def sample(job_id: str, body: Nothing, call: Call = CALL) -> Response:
    """Draws the samples now."""
    return _told(call, job_id, "sample")


@policy(Policy.WRITE)
def pause(job_id: str, body: Nothing, call: Call = CALL) -> Response:
    """Gives the model back until the job is continued."""
    return _told(call, job_id, "pause")


@policy(Policy.WRITE)
def go_on(job_id: str, body: Nothing, call: Call = CALL) -> Response:
    """Goes on after a pause."""
    return _told(call, job_id, "continue")


@policy(Policy.WRITE)
def cancel(job_id: str, body: Nothing, call: Call = CALL) -> Response:
    """Takes a waiting job out of the line."""
    return _told(call, job_id, "cancel")


@policy(Policy.WRITE)
def move(job_id: str, body: Place, call: Call = CALL) -> Response:
    """Gives a waiting job another place in line, 1 being the next."""
    return _told(call, job_id, "move", body.place)


def _told(call: Call, job_id: str, action: str, place: int = 1) -> Response:
    return reply(_shape(call.studio.control(call.visitor, job_id, action, place=place), call))


def _shape(job: Job, call: Call) -> dict[str, object]:
    """Its folder is <project id>/runs/<run id>."""
    return {
        "job": job.id,
        "project": job.folder.parent.parent.name,
        "run": job.folder.name,
        "title": job.title,
        "state": job.state,
        "place": job.record.place,
        "mine": is_mine(call.studio.exposure, call.visitor, job.owner),
    }


ROUTES = (
    ("GET", "/live", read_live),
    ("GET", "/jobs", list_jobs),
    ("GET", "/jobs/{job_id}", read_job),
    ("POST", "/jobs/{job_id}/stop", stop),
    ("POST", "/jobs/{job_id}/save", save),
    ("POST", "/jobs/{job_id}/sample", sample),
    ("POST", "/jobs/{job_id}/pause", pause),
    ("POST", "/jobs/{job_id}/continue", go_on),
    ("POST", "/jobs/{job_id}/cancel", cancel),
    ("POST", "/jobs/{job_id}/move", move),
)
