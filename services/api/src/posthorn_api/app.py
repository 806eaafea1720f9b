"""The edge: the FastAPI application inside its outermost layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib.resources.abc import Traversable
from typing import get_type_hints

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match

from posthorn.ports.reports import ReportFigures
from posthorn.ports.statistics import Statistics
from posthorn.runtime.health import Health
from posthorn_api.bulk import routes as import_routes
from posthorn_api.bulk.service import BulkImportService
from posthorn_api.config import routes as config_routes
from posthorn_api.config.service import ConfigService
from posthorn_api.console.routes import console_routes
from posthorn_api.credentials import routes as credential_routes
from posthorn_api.credentials.service import CredentialService
from posthorn_api.dead_letters import routes as dead_letter_routes
from posthorn_api.dead_letters.service import DeadLetterService
from posthorn_api.defence import routes as defence_routes
from posthorn_api.defence.service import DefenceService
from posthorn_api.digests.routes import release_pages
from posthorn_api.digests.service import DigestService
from posthorn_api.directory import routes as directory_routes
from posthorn_api.directory.service import DirectoryService
from posthorn_api.dns import routes as dns_routes
from posthorn_api.dns.public_pages import PublicPages
from posthorn_api.dns.public_routes import LIMITS, public_routes
from posthorn_api.dns.service import DnsService
from posthorn_api.events import routes as stats_routes
from posthorn_api.events import stream_routes
from posthorn_api.events.feed import EventFeed
from posthorn_api.filtering import routes as filtering_routes
from posthorn_api.filtering.service import FilteringService
from posthorn_api.forwards.routes import confirmation_pages
from posthorn_api.forwards.service import Confirmations
from posthorn_api.http import openapi as docs
from posthorn_api.http import status_routes
from posthorn_api.http.asgi import AsgiEdge
from posthorn_api.http.guard import Guard
from posthorn_api.http.large_bodies import SEND_PATH
from posthorn_api.http.permissions import RULES
from posthorn_api.http.problems import problem_of
from posthorn_api.http.telemetry import http_telemetry
from posthorn_api.login import routes as login_routes
from posthorn_api.login.service import LoginService
from posthorn_api.mailboxes import message_routes, structure_routes
from posthorn_api.mailboxes import routes as mailbox_routes
from posthorn_api.mailboxes.service import MailboxService
from posthorn_api.me import forward_routes
from posthorn_api.me import routes as me_routes
from posthorn_api.me.forwards import OwnForwardService
from posthorn_api.me.service import MeService
from posthorn_api.quarantine import routes as quarantine_routes
from posthorn_api.quarantine.service import QuarantineService
from posthorn_api.queue import routes as queue_routes
from posthorn_api.queue import smarthost_routes as route_routes
from posthorn_api.queue.probes import RouteProbeService
from posthorn_api.queue.service import QueueService
from posthorn_api.reference.routes import reference_routes
from posthorn_api.reports import routes as report_routes
from posthorn_api.search import routes as search_routes
from posthorn_api.search.service import SearchService
from posthorn_api.sending import routes as sending_routes
from posthorn_api.sending.service import SendingService
from posthorn_api.system import routes as system_routes
from posthorn_api.system.service import SystemService
from posthorn_api.tenants import routes as tenant_routes
from posthorn_api.tenants.service import TenantService
from posthorn_api.transfers import routes as transfer_routes
from posthorn_api.transfers.service import TransferService
from posthorn_api.webhooks import routes as webhook_routes
from posthorn_api.webhooks.service import WebhookService

ROUTERS = (
    login_routes.login,
    login_routes.known,
    me_routes.me,
    forward_routes.own_forwards,
    tenant_routes.tenants,
    tenant_routes.api_keys,
    directory_routes.domains,
    dns_routes.dns,
    credential_routes.dkim,
    directory_routes.accounts,
    credential_routes.app_passwords,
    mailbox_routes.mailboxes,
    message_routes.messages,
    structure_routes.parts,
    mailbox_routes.messages,
    transfer_routes.transfers,
    directory_routes.aliases,
    filtering_routes.policies,
    quarantine_routes.quarantine,
    defence_routes.defence,
    sending_routes.sending,
    queue_routes.traces,
    search_routes.searches,
    queue_routes.queue,
    route_routes.routes,
    queue_routes.suppressions,
    dead_letter_routes.dead,
    import_routes.imports,
    webhook_routes.webhooks,
    stream_routes.following,
    report_routes.reports,
    stats_routes.stats,
    config_routes.config,
    tenant_routes.audit,
    status_routes.status,
    system_routes.system,
)
"""All operations, in the order of the documentation."""


@dataclass(frozen=True, slots=True)
class Services:
    """The services behind the operations."""

    logins: LoginService
    me: MeService
    own_forwards: OwnForwardService
    directory: DirectoryService
    mailboxes: MailboxService
    transfers: TransferService
    credentials: CredentialService
    queue: QueueService
    route_probes: RouteProbeService
    sending: SendingService
    tenants: TenantService
    bulk_imports: BulkImportService
    dead_letters: DeadLetterService
    dns: DnsService
    public_pages: PublicPages
    webhooks: WebhookService
    statistics: Statistics
    config: ConfigService
    forwards: Confirmations
    filtering: FilteringService
    quarantine: QuarantineService
    digests: DigestService
    searches: SearchService
    defence: DefenceService
    reports: ReportFigures
    system: SystemService
    feed: EventFeed


def operations() -> Iterator[APIRoute]:
    """Yield all operations."""
    for part in ROUTERS:
        for route in part.routes:
            assert isinstance(route, APIRoute)
            yield route


def create_app(
    parts: Services,
    guard: Guard,
    health: Health,
    *,
    body_limit: int = 1024 * 1024,
    send_body_max_bytes: int = 40 * 1024 * 1024,
    import_body_max_bytes: int = 1024 * 1024 * 1024,
    mail_import_body_max_bytes: int = 64 * 1024 * 1024 * 1024,
    console: Traversable | None = None,
) -> AsgiEdge:
    """Make the ASGI application. The limits are bytes of a request's body; ``console``: the files
    of the console, if it is to be served."""
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=http_telemetry(),
    )
    kinds = get_type_hints(Services)
    app.state.services = {kinds[each.name]: getattr(parts, each.name) for each in fields(parts)}
    app.state.guard, app.state.health = guard, health
    app.router.routes.extend(operations())  # including the routers would build each of them again
    _check_rules()
    app.add_exception_handler(HTTPException, _refuse)
    app.router.routes.extend(reference_routes(docs.TITLE, lambda: docs.describe(operations())))
    app.router.routes.extend(
        [
            *public_routes(parts.public_pages),
            *confirmation_pages(parts.forwards),
            *release_pages(parts.digests),
            *login_routes.oidc_pages(parts.logins),
        ]
    )
    if console is not None:
        app.router.routes.extend(console_routes(console))
    limits = (
        LIMITS
        | {SEND_PATH: send_body_max_bytes}
        | dict.fromkeys(import_routes.PATHS, import_body_max_bytes)
    )
    return AsgiEdge(
        app, body_limit, limits, [(transfer_routes.IMPORT_PATH, mail_import_body_max_bytes)]
    )


def _check_rules() -> None:
    """Every operation has a rule, or it could not have been made; here, that every rule has an
    operation."""
    idle = RULES.keys() - {route.operation_id for route in operations()}
    if idle:
        raise RuntimeError(f"rules without an operation: {', '.join(sorted(idle))}")


async def _refuse(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.status == 405:
        allowed = ", ".join(_methods(request))
        problem.headers["Allow"] = allowed
        problem.detail = f"this path does not allow {request.method}, but {allowed}"
    return problem.response()


def _methods(request: Request) -> list[str]:
    """All methods of the path: each operation is a route of its own, and knows only its own."""
    found: set[str] = set()
    for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            found.add(method)
    if "GET" in found:
        found.add("HEAD")
    return sorted(found)
