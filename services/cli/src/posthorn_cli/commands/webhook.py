"""`posthorn webhook`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, cast

import typer

from posthorn_cli.client.types import WebhookChange, WebhookCreation
from posthorn_cli.options import list_options
from posthorn_cli.output import MANAGED_BY, Column
from posthorn_cli.session import DEFAULT_LIMIT, All, Limit, Session, Yes, command, group
from posthorn_cli.values import given, nullable, require_change

webhooks = group(
    "Webhooks: URLs that are told what happens to messages.\n\n"
    "Example: `posthorn webhook create https://hooks.example.org/mail --event delivered --event bounced`"
)
Hook = Annotated[str, typer.Argument(metavar="ID", help="The webhook's id.")]
Delivery = Annotated[str, typer.Argument(metavar="DELIVERY", help="The delivery's id.")]
COLUMNS = [
    Column("id"),
    Column("state"),
    Column("url"),
    Column("events"),
    Column("domain"),
    Column("tenant"),
    MANAGED_BY,
]
DELIVERY_COLUMNS = [
    Column("id"),
    Column("created_at"),
    Column("event_type", "event"),
    Column("state"),
    Column("attempts"),
    Column("last_status", "answer"),
    Column("next_attempt_at", "next attempt"),
    Column("last_reply", "last reply", prose=True),
]


class HookState(StrEnum):
    """States that a webhook can be given."""

    ACTIVE = "active"
    PAUSED = "paused"


class DeliveryState(StrEnum):
    """States of a delivery."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


@command(webhooks, "list", list_options("created", "url", states="active, paused or failing"))
def list_webhooks(
    session: Session, /, *, limit: Limit = DEFAULT_LIMIT, whole: All = False, **asked: Any
) -> None:
    """List webhooks.

    Example: `posthorn webhook list`
    """
    session.list(session.api.list_webhooks, COLUMNS, limit, whole, **asked)


@command(webhooks, "show")
def show_webhook(session: Session, webhook: Hook) -> None:
    """Show a webhook, without its secret.

    Example: `posthorn webhook show 0198c1d2-…`
    """
    session.output.item(session.api.get_webhook(webhook), COLUMNS)


@command(webhooks, "create")
def create_webhook(
    session: Session,
    url: Annotated[str, typer.Argument(help="Where events are posted to.")],
    *,
    event: Annotated[
        list[str] | None, typer.Option(help="A kind of event, as in a trace; without it, all.")
    ] = None,
    domain: Annotated[str | None, typer.Option(help="Only what concerns this domain.")] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Whose it is; without it yours, or the whole platform's.")
    ] = None,
) -> None:
    """Create a webhook. The secret that signs its requests is printed this once; into a pipe, only
    the secret.

    Example: `posthorn webhook create https://hooks.example.org/mail --event delivered --domain
    example.org`
    """
    body = {"url": url, "events": event or ["*"]} | given(domain=domain, tenant=tenant)
    made = session.api.create_webhook(cast("WebhookCreation", body))
    session.output.once(cast("dict[str, Any]", made), "secret", COLUMNS)


@command(webhooks, "set")
def set_webhook(
    session: Session,
    webhook: Hook,
    *,
    url: Annotated[str | None, typer.Option(help="Where events are posted to.")] = None,
    event: Annotated[
        list[str] | None, typer.Option(help="A kind of event; all of them anew.")
    ] = None,
    domain: Annotated[
        str | None, typer.Option(metavar="DOMAIN|none", help="Only what concerns this domain.")
    ] = None,
    state: Annotated[
        HookState | None, typer.Option(help="Active again, it goes on with what waits.")
    ] = None,
) -> None:
    """Change what is named; the rest stays.

    Example: `posthorn webhook set 0198c1d2-… --state paused`
    """
    body = given(url=url, events=event, state=state) | nullable("domain", domain)
    require_change(body)
    session.api.get_webhook(webhook)
    changed = session.api.change_webhook(
        webhook, cast("WebhookChange", body), if_match=session.api.etag
    )
    session.output.item(changed, COLUMNS)


@command(webhooks, "delete")
def delete_webhook(session: Session, webhook: Hook, *, yes: Yes = False) -> None:
    """Delete a webhook with the record of its deliveries.

    Example: `posthorn webhook delete 0198c1d2-…`
    """
    found = session.api.get_webhook(webhook)
    session.ask(f"Delete the webhook to {found['url']}?", yes)
    session.api.delete_webhook(webhook)
    session.output.deleted("webhook", webhook)


@command(webhooks, "rotate")
def rotate_secret(session: Session, webhook: Hook) -> None:
    """Set a new secret for a webhook, printed this once. For a day requests are signed with both.

    Example: `posthorn webhook rotate 0198c1d2-…`
    """
    session.output.once(
        cast("dict[str, Any]", session.api.rotate_webhook_secret(webhook)), "secret", COLUMNS
    )


@command(webhooks, "test")
def send_test_event(session: Session, webhook: Hook) -> None:
    """Send a test event, and show its delivery.

    Example: `posthorn webhook test 0198c1d2-…`
    """
    session.output.item(session.api.test_webhook(webhook), DELIVERY_COLUMNS)


@command(webhooks, "deliveries", list_options("created", tenant=False))
def list_deliveries(
    session: Session,
    /,
    webhook: Hook,
    *,
    state: Annotated[DeliveryState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    whole: All = False,
    **asked: Any,
) -> None:
    """List what was posted or is to be, newest first.

    Example: `posthorn webhook deliveries 0198c1d2-… --state failed`
    """

    def pages(**page: Any) -> Any:
        chosen = cast("Literal['waiting', 'delivered', 'failed'] | None", state and state.value)
        return session.api.list_webhook_deliveries(webhook, state=chosen, **page)

    session.list(pages, DELIVERY_COLUMNS, limit, whole, **asked)


@command(webhooks, "delivery")
def show_delivery(session: Session, webhook: Hook, delivery: Delivery) -> None:
    """Show what was sent, and what was answered last.

    Example: `posthorn webhook delivery 0198c1d2-… 0198c1d3-…`
    """
    session.output.item(session.api.get_webhook_delivery(webhook, delivery), DELIVERY_COLUMNS)


@command(webhooks, "replay")
def replay(session: Session, webhook: Hook, delivery: Delivery) -> None:
    """Send a delivery again, at once.

    Example: `posthorn webhook replay 0198c1d2-… 0198c1d3-…`
    """
    session.output.item(session.api.replay_webhook_delivery(webhook, delivery), DELIVERY_COLUMNS)


@command(webhooks, "replay-failed")
def replay_failed(session: Session, webhook: Hook) -> None:
    """Send the failed deliveries again, at once.

    Example: `posthorn webhook replay-failed 0198c1d2-…`
    """
    answer = session.api.replay_failed_webhook_deliveries(webhook)
    if answer["left"]:
        session.output.note(f"{answer['left']} failed deliveries are left: do it again for them")
    session.output.done(
        f"replayed {answer['replayed']} deliveries",
        {"replayed": answer["replayed"], "left": answer["left"]},
    )
