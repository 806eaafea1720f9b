"""The OpenAPI document of the API."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from posthorn.ports.errors import FieldError
from posthorn_api.bulk.schemas import AccountLine, AliasLine, ImportAnswer
from posthorn_api.http.descriptions import ABOUT, PROBLEMS, TAGS
from posthorn_api.http.examples import put_into
from posthorn_api.http.problems import MEDIA_TYPE, Problem


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document."""
    document = get_openapi(
        title="Posthorn API", version=version("posthorn-api"), description=ABOUT, routes=app.routes
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
        schema = shape.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)  # they are there already
        document["components"]["schemas"][shape.__name__] = schema
    for item in document["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if int(status) < 400:
                    response["description"] = response["description"].replace(
                        "Successful Response", "Success."
                    )
                else:
                    content = next(iter(response["content"].values()))
                    response["content"] = {
                        MEDIA_TYPE: {**content, "example": _problem(int(status))}
                    }
    put_into(document)
    return document


def _problem(status: int) -> dict[str, Any]:
    slug, detail = PROBLEMS[status]
    field, _, message = detail.partition(": ")
    faults = [FieldError(field, message)] if slug == "invalid" else []
    return Problem(status, slug, detail, faults=faults).document()
