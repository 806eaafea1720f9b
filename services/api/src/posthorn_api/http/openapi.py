"""The OpenAPI document of the API."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from posthorn.ports.errors import FieldError
from posthorn_api.bulk.schemas import AccountLine, AliasLine, ImportAnswer
from posthorn_api.http.descriptions import ABOUT, PROBLEMS, TAGS
from posthorn_api.http.examples import put_into
from posthorn_api.http.problems import MEDIA_TYPE, Problem
from posthorn_api.http.schemas import ProblemView

TITLE = "Posthorn API"
_REFERENCE = "#/components/schemas/{model}"


def describe(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """Return the OpenAPI document. It takes a second of CPU."""
    document = get_openapi(
        title=TITLE, version=version("posthorn-api"), description=ABOUT, routes=list(routes)
    )
    used = {
        tag
        for item in document["paths"].values()
        for operation in item.values()
        for tag in operation["tags"]
    }
    document["tags"] = [
        {"name": name, "description": text} for name, text in TAGS.items() if name in used
    ]
    # streamed, so that the framework does not know of them
    for shape in (AccountLine, AliasLine, ImportAnswer):
        schema = shape.model_json_schema(ref_template=_REFERENCE)
        schema.pop("$defs", None)  # they are there already
        document["components"]["schemas"][shape.__name__] = schema
    problem = ProblemView.model_json_schema(ref_template=_REFERENCE)
    del problem["properties"]["errors"]["default"]  # null, which FastAPI leaves out
    document["components"]["schemas"] |= {**problem.pop("$defs"), ProblemView.__name__: problem}
    for item in document["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if int(status) < 400:
                    response["description"] = response["description"].replace(
                        "Successful Response", "Success."
                    )
                else:
                    response["content"] = {
                        MEDIA_TYPE: {
                            "schema": {"$ref": _REFERENCE.format(model=ProblemView.__name__)},
                            "example": _problem(int(status)),
                        }
                    }
    put_into(document)
    return document


def _problem(status: int) -> dict[str, Any]:
    slug, detail = PROBLEMS[status]
    field, _, message = detail.partition(": ")
    faults = [FieldError(field, message)] if slug == "invalid" else []
    return Problem(status, slug, detail, faults=faults).document()
