"""Declarative configuration: what a document wants, by names in canonical form."""

from __future__ import annotations

from typing import Any

from posthorn.ports.errors import FieldError, ValidationFailed
from posthorn_api.config.plan import ACCOUNT, ALIAS, DOMAIN, ROUTE, WEBHOOK, Objects, Wanted
from posthorn_api.config.schemas import ConfigDocument
from posthorn_api.directory.fields import address_in, domain_in, networks_in, targets_in
from posthorn_api.filtering.service import policy_in
from posthorn_api.queue.service import route_domain_in


def read_document(document: ConfigDocument) -> Objects[Wanted]:
    """Return what a document wants, by names in canonical form. Raises ValidationFailed, naming
    every field that cannot be taken."""
    wanted: Objects[Wanted] = {}
    faults: list[FieldError] = []
    lists = (
        (DOMAIN, "domains", document.domains),
        (ACCOUNT, "accounts", document.accounts),
        (ALIAS, "aliases", document.aliases),
        (WEBHOOK, "webhooks", document.webhooks),
        (ROUTE, "routes", document.routes),
    )
    for kind, plural, items in lists:
        if items is None:
            continue
        named: dict[str, Wanted] = {}
        for number, item in enumerate(items):
            values = item.model_dump(exclude_unset=kind not in (ROUTE, WEBHOOK))
            if kind == WEBHOOK and "state" not in item.model_fields_set:
                del values["state"]
            try:
                name, want = _read(kind, values)
            except ValidationFailed as unfit:
                faults += [
                    FieldError(f"{plural}[{number}].{each.field}", each.message)
                    for each in unfit.faults
                ]
                continue
            if name in named:
                faults.append(FieldError(f"{plural}[{number}]", f"{name} is given twice"))
            named[name] = Wanted(want)
        wanted[kind] = named
    if faults:
        raise ValidationFailed(*faults)
    return wanted


def _read(kind: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    match kind:
        case "domain":
            name = domain_in("name", values.pop("name"))
            if values.get("catch_all") is not None:
                values["catch_all"] = address_in("catch_all", values["catch_all"])
            return name, _canonical(values)
        case "account":
            name = address_in("address", values.pop("address"))
            if values.get("password_hash", "") is None:
                del values["password_hash"]
            return name, _canonical(values)
        case "alias":
            return address_in("address", values["address"]), {
                "targets": targets_in(values["targets"])
            }
        case "webhook":
            if values["domain"] is not None:
                values["domain"] = domain_in("domain", values["domain"])
            if "*" in values["events"]:
                values["events"] = ["*"]
            return webhook_name(values["url"], values["domain"]), values
    name = values.pop("domain")
    return route_domain_in(name), values


def _canonical(values: dict[str, Any]) -> dict[str, Any]:
    """Return networks and policies as they are stored, to compare them. Raises ValidationFailed."""
    if values.get("filter_policy") is not None:
        values["filter_policy"] = policy_in(values["filter_policy"], "filter_policy.") or None
    if values.get("allowed_networks"):
        values["allowed_networks"] = list(
            networks_in("allowed_networks", values["allowed_networks"])
        )
    return values


def webhook_name(url: str, domain: str | None) -> str:
    """Return what a webhook is called in plans."""
    return url if domain is None else f"{url} {domain}"
