"""What can go wrong between a program and the REST API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ClientError(Exception):
    """A request was not done."""


class Unreachable(ClientError):
    """The API gave no answer, or broke off in the middle of one. Transient: the request may be
    made again."""


class UnsafeUrl(ClientError):
    """The URL is none of an API, or would show the key to others on its way."""


@dataclass(frozen=True, slots=True)
class FieldFault:
    """What is wrong with one field of a request."""

    field: str
    message: str


class ApiError(ClientError):
    """The API answered with a problem document (RFC 9457)."""

    def __init__(
        self, status: int, slug: str, title: str, detail: str, faults: tuple[FieldFault, ...] = ()
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.slug = slug
        """The last part of the document's type, such as ``invalid``; empty when the answer was
        no problem document."""
        self.title = title
        self.detail = detail
        self.faults = faults

    @classmethod
    def from_document(cls, status: int, document: object) -> ApiError:
        """Read one from the body of an answer; a body that is no problem document makes a plain
        one."""
        if not isinstance(document, Mapping):
            return cls(status, "", f"the API answered {status}", "")
        listed = document.get("errors")
        faults = tuple(_fault(each) for each in listed) if isinstance(listed, list) else ()
        title = str(document.get("title") or f"the API answered {status}")
        slug = str(document.get("type") or "").rpartition(":")[2]
        return cls(status, slug, title, str(document.get("detail") or ""), faults)


def _fault(document: Any) -> FieldFault:
    if not isinstance(document, Mapping):
        return FieldFault("", str(document))
    return FieldFault(str(document.get("field") or ""), str(document.get("message") or ""))
