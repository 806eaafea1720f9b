"""An OpenID Connect issuer of the tests' own: documents on 127.0.0.1, keys, and tokens that are
right but for what a test says."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as elliptic
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from posthorn.runtime.http import bind, http_server

AUDIENCE = "posthorn"
RSA_KEY, OTHER_RSA_KEY = rsa(65537, 2048), rsa(65537, 2048)
SHORT_RSA_KEY = rsa(65537, 1024)
EC_KEY = elliptic(SECP256R1())
ED_KEY = Ed25519PrivateKey.generate()


def public(key: Any, kid: str | None, **more: str) -> dict[str, Any]:
    """The public half as a JWK."""
    named = {RSAAlgorithm: "RSA", ECAlgorithm: "EC"}
    kinds = [
        kind
        for kind in named
        if hasattr(key, "key_size") and hasattr(key, "curve") == (kind is ECAlgorithm)
    ]
    kind: Any = kinds[0] if kinds else OKPAlgorithm
    document: dict[str, Any] = json.loads(kind.to_jwk(key.public_key()))
    return (
        {name: value for name, value in document.items() if name != "key_ops"}
        | ({"kid": kid} if kid else {})
        | more
    )


@dataclass
class Issuer:
    """A running one. What its documents say may be changed at any time."""

    url: str
    keys: list[dict[str, Any]] = field(default_factory=lambda: [public(RSA_KEY, "first")])
    configuration: dict[str, Any] = field(default_factory=dict)
    """Put over what it says of itself."""
    is_down: bool = False
    fetched: list[str] = field(default_factory=list)
    redeem: Callable[[dict[str, str], str], dict[str, Any]] = lambda _form, _basic: {}
    """What the token endpoint answers to a form and the credentials of HTTP Basic."""

    def token(
        self,
        key: Any = RSA_KEY,
        algorithm: str = "RS256",
        *,
        kid: str | None = "first",
        **claims: Any,
    ) -> str:
        """Sign a token of a tenant's admin; ``claims`` are put over what it says, and None takes
        one out."""
        now = time.time()
        said = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ann",
            "iat": int(now),
            "exp": int(now + 300),
            "roles": ["tenant-admin"],
            "tenant": "acme",
            **claims,
        }
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, key, algorithm, headers={"kid": kid} if kid else None)

    async def answer(self, request: Request) -> Response:
        """Answer a request for a document."""
        self.fetched.append(request.url.path)
        if self.is_down:
            return Response(status_code=503)
        if request.method == "POST":
            form = {name: found[0] for name, found in parse_qs(await request.body()).items()}
            plain = {name.decode(): found.decode() for name, found in form.items()}
            basic = request.headers.get("authorization", "").removeprefix("Basic ")
            answer = self.redeem(plain, basic)
            return JSONResponse(answer, 400 if "error" in answer else 200)
        if request.url.path.endswith("/.well-known/openid-configuration"):
            return JSONResponse(
                {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.configuration}
            )
        return JSONResponse({"keys": self.keys})


@asynccontextmanager
async def running_issuer() -> AsyncIterator[Issuer]:
    """Run one."""
    listener = bind("127.0.0.1", 0, "test")
    issuer = Issuer(f"http://127.0.0.1:{listener.getsockname()[1]}/realms/test")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        response = await issuer.answer(Request(scope, receive))
        await response(scope, receive, send)

    async with http_server(app, listener, grace=1):
        yield issuer


def bearer(token: str) -> dict[str, str]:
    """The headers that show a token."""
    return {"Authorization": f"Bearer {token}"}
