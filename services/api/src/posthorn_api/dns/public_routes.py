"""Pages without a key: the MTA-STS policy of a domain and its settings for mail clients."""

from __future__ import annotations

import asyncio
import re
from xml.sax.saxutils import unescape

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from posthorn_api.dns.apple_profile import MEDIA_TYPE
from posthorn_api.dns.public_pages import PublicPages
from posthorn_api.http.problems import Problem, answering

POLICY_PATH = "/.well-known/mta-sts.txt"
CONFIG_PATHS = ("/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml")
AUTODISCOVER_PATHS = ("/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml")
PROFILE_PATH = "/mail/posthorn.mobileconfig"

LIMITS = dict.fromkeys(AUTODISCOVER_PATHS, 16_384)
"""Bytes that a body may have, by path."""

_POLICY_SECONDS = 300
_CONFIG_SECONDS = 3600
_BODY_SECONDS = 10.0
_ADDRESS = re.compile(
    rb"<EMailAddress>\s*([^<>\s]{3,512})\s*</EMailAddress>"
)  # so much of XML is enough, and cannot be abused


def public_routes(pages: PublicPages) -> list[Route]:
    """Make the routes."""

    async def policy(request: Request) -> Response:
        return _page(
            await pages.policy(_host(request)), "text/plain; charset=utf-8", _POLICY_SECONDS
        )

    async def config(request: Request) -> Response:
        text = await pages.client_config(_host(request), request.query_params.get("emailaddress"))
        return _page(text, "application/xml; charset=utf-8", _CONFIG_SECONDS)

    async def autodiscover(request: Request) -> Response:
        named = _ADDRESS.search(await _body(request))
        text = (
            await pages.autodiscover(unescape(named[1].decode("utf-8", "replace")))
            if named
            else None
        )
        return _page(text, "application/xml; charset=utf-8", 0)

    async def profile(request: Request) -> Response:
        text = await pages.apple_profile(request.query_params.get("emailaddress", ""))
        return _page(text, MEDIA_TYPE, 0)

    return [
        Route(PROFILE_PATH, answering(profile), methods=["GET"]),
        Route(POLICY_PATH, answering(policy), methods=["GET"]),
        *(Route(path, answering(config), methods=["GET"]) for path in CONFIG_PATHS),
        *(Route(path, answering(autodiscover), methods=["POST"]) for path in AUTODISCOVER_PATHS),
    ]


def _page(text: str | bytes | None, media_type: str, seconds: int) -> Response:
    if text is None:
        raise Problem(404, "not-found", "not found: this domain has no such page")
    cache = f"public, max-age={seconds}" if seconds else "no-store"
    return Response(text, headers={"Cache-Control": cache}, media_type=media_type)


def _host(request: Request) -> str:
    return request.headers.get("host", "")


async def _body(request: Request) -> bytes:
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await request.body()  # bounded by the edge
    except TimeoutError:
        raise Problem(
            408, "timeout", "the body did not arrive in time", headers={"Connection": "close"}
        ) from None
