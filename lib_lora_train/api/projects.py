"""Projects and their concepts."""

from __future__ import annotations

from fastapi import Depends, Response

from lib_lora_train import project as store
from lib_lora_train.api.bodies import EditedConcept, EditedProject, NewConcept, NewProject, Trashed
from lib_lora_train.api.gate import Call
from lib_lora_train.api.policies import Policy, policy
from lib_lora_train.api.replies import reply
from lib_lora_train.api.route import current_call
from lib_lora_train.collection.concepts import add_concept, delete_concept, edit_concept
from lib_lora_train.collection.entries import list_concepts
from lib_lora_train.project import Project, list_runs

CALL = Depends(current_call)


@policy(Policy.READ)
def list_projects(call: Call = CALL) -> Response:
    """The caller's projects, newest first, and deleted ones that can be brought back."""
    projects, problems = call.studio.projects(call.visitor)
    trash = call.studio.project_trash(call.visitor)
    return reply(
        {
            "projects": [_shape(project) for project in projects],
            "problems": [problem.text(call.language) for problem in problems],
            "trash": [{"trash_id": trash_id, "title": project.title} for trash_id, project in trash],
        }
    )


@policy(Policy.WRITE)
def create_project(body: NewProject, call: Call = CALL) -> Response:
    """A new, empty project."""
    project = call.studio.create_project(call.visitor, body.title, body.kind, body.trigger_word)
    return reply(_shape(project), 201)


@policy(Policy.WRITE)
def restore_project(body: Trashed, call: Call = CALL) -> Response:
    """Brings a deleted project back."""
    return reply(_shape(call.studio.restore_project(call.visitor, body.trash_id)))


@policy(Policy.READ)
def read_project(project_id: str, call: Call = CALL) -> Response:
    """A project with its concepts."""
    project = call.studio.project(call.visitor, project_id)
    concepts = [concept.as_dict() for concept in list_concepts(project)]
    return reply({**_shape(project), "concepts": concepts})


@policy(Policy.WRITE)
def edit_project(project_id: str, body: EditedProject, call: Call = CALL) -> Response:
    """A new title, kind of subject or trigger word."""
    project = call.studio.project(call.visitor, project_id)
    return reply(_shape(store.edit_project(project, body.title, body.kind, body.trigger_word)))


@policy(Policy.WRITE)
def delete_project(project_id: str, call: Call = CALL) -> Response:
    """Moves a project to the trash."""
    return reply({"trash_id": call.studio.delete_project(call.visitor, project_id)})


@policy(Policy.WRITE)
def create_concept(project_id: str, body: NewConcept, call: Call = CALL) -> Response:
    """A new folder of pictures that are trained as one thing."""
    project = call.studio.project(call.visitor, project_id)
    return reply(add_concept(project, body.name, body.repeats, body.regularization).as_dict(), 201)


@policy(Policy.WRITE)
def change_concept(project_id: str, concept_id: str, body: EditedConcept, call: Call = CALL) -> Response:
    """A new name or number of repeats. The id may change with it."""
    project = call.studio.project(call.visitor, project_id)
    return reply(edit_concept(project, concept_id, body.name, body.repeats).as_dict())


@policy(Policy.WRITE)
def remove_concept(project_id: str, concept_id: str, call: Call = CALL) -> Response:
    """Moves a concept with its pictures to the project's trash."""
    project = call.studio.project(call.visitor, project_id)
    return reply({"trash_id": delete_concept(project, concept_id)})


def _shape(project: Project) -> dict[str, object]:
    return {
        "id": project.id,
        "title": project.title,
        "kind": project.kind,
        "trigger_word": project.trigger_word,
        "created": project.created,
        "runs": len(list_runs(project)),
    }


ROUTES = (
    ("GET", "/projects", list_projects),
    ("POST", "/projects", create_project),
    ("POST", "/projects/restore", restore_project),
    ("GET", "/projects/{project_id}", read_project),
    ("PATCH", "/projects/{project_id}", edit_project),
    ("DELETE", "/projects/{project_id}", delete_project),
    ("POST", "/projects/{project_id}/concepts", create_concept),
    ("PATCH", "/projects/{project_id}/concepts/{concept_id}", change_concept),
    ("DELETE", "/projects/{project_id}/concepts/{concept_id}", remove_concept),
)
