"""Bearer tokens of an OpenID Connect issuer: which are taken, what they open, and what becomes
of them when the issuer is away."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.issuer_fetch import fetch
from posthorn.ports.api_keys import Role
from posthorn.ports.tenants import Tenants
from posthorn.runtime.oidc.keys import IssuerKeys
from posthorn_api.auth.tokens import Tokens
from posthorn_api.auth.trust import Trust
from posthorn_local.embedded import Nats
from tests.integration.api.test_process import KEY, client, end, ready, spawn, variables
from tests.support.api import ADMIN_KEY, Api, problem, running_api
from tests.support.clock import Clock
from tests.support.issuer import (
    AUDIENCE,
    EC_KEY,
    ED_KEY,
    OTHER_RSA_KEY,
    RSA_KEY,
    SHORT_RSA_KEY,
    Issuer,
    bearer,
    public,
    running_issuer,
)
from tests.support.polling import BUSY_SECONDS, until

WHO = "/v1/tenants"
__all__ = ["client"]  # a fixture


@dataclass
class OidcEnv:
    """An API with an issuer, a tenant ``acme`` and another."""

    api: Api
    issuer: Issuer
    tokens: Tokens
    clock: Clock
    stack: AsyncExitStack

    async def get(self, token: str, path: str = WHO) -> httpx.Response:
        return await self.api.client.get(path, headers=bearer(token))

    async def sees(self, token: str) -> list[str]:
        answer = await self.get(token)
        assert answer.status_code == 200, answer.text
        return [each["name"] for each in answer.json()["items"]]

    def trust(self, **changes: Any) -> None:
        """Change the settings."""
        self.tokens._trust = replace(self.tokens._trust, **changes)


@pytest.fixture
async def env(database_url: str, tmp_path: Path) -> AsyncIterator[OidcEnv]:
    clock, made = Clock(0.0), list[Tokens]()
    async with AsyncExitStack() as stack:
        issuer = await stack.enter_async_context(running_issuer())
        keys = IssuerKeys(issuer.url, fetch, clock=clock)

        def tokens(tenants: Tenants) -> Tokens:
            made.append(Tokens(Trust(issuer.url, (AUDIENCE, "mail")), keys, tenants, b"s" * 32))
            return made[0]

        api = await stack.enter_async_context(
            running_api(database_url, FileBlobs(tmp_path), tokens=tokens)
        )
        await api.tenant("acme")
        await api.tenant("other")
        yield OidcEnv(api, issuer, made[0], clock, stack)


def refused(answer: httpx.Response, detail: str) -> None:
    document = problem(answer, 401, "unauthorized")
    assert document["detail"] == detail
    assert answer.headers["www-authenticate"] == 'Bearer realm="posthorn", error="invalid_token"'


async def test_a_token_opens_what_its_role_and_tenant_open(env: OidcEnv) -> None:
    assert await env.sees(env.issuer.token()) == ["acme"]
    await env.api.domain("acme.test", tenant="acme")
    await env.api.domain("other.test", tenant="other")
    made = await env.api.client.post(
        "/v1/accounts",
        json={"address": "a@acme.test", "password": "correct horse"},
        headers=bearer(env.issuer.token()),
    )
    assert made.status_code == 201, made.text
    problem(await env.get(env.issuer.token(), "/v1/domains/other.test"), 404, "not-found")
    reader = bearer(env.issuer.token(roles="read-only"))
    problem(
        await env.api.client.delete("/v1/accounts/a@acme.test", headers=reader), 403, "forbidden"
    )
    sender = env.issuer.token(roles=["send-only"])
    problem(await env.get(sender), 403, "forbidden")
    assert await env.sees(ADMIN_KEY) == ["acme", "default", "other"], "keys go on beside tokens"


async def test_the_audit_log_tells_whose_token_it_was(env: OidcEnv) -> None:
    headers = bearer(env.issuer.token(sub="3f1c-ann"))
    answer = await env.api.client.post("/v1/domains", json={"name": "acme.test"}, headers=headers)
    assert answer.status_code == 201, answer.text
    (line,) = (await env.get(env.issuer.token(sub="other"), "/v1/audit")).json()["items"]
    assert (line["actor_name"], line["actor_role"]) == ("oidc:3f1c-ann", "tenant-admin")
    (tenant,) = await env.api.sql("SELECT id FROM tenants WHERE name = 'acme'")
    assert line["tenant"] == str(tenant["id"])


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("RS256", RSA_KEY), ("PS256", RSA_KEY), ("ES256", EC_KEY), ("EdDSA", ED_KEY)],
)
async def test_the_algorithms_that_are_taken(env: OidcEnv, algorithm: str, key: Any) -> None:
    env.issuer.keys = [
        public(each, f"k{number}") for number, each in enumerate((RSA_KEY, EC_KEY, ED_KEY))
    ]
    kid = f"k{[RSA_KEY, EC_KEY, ED_KEY].index(key)}"
    assert await env.sees(env.issuer.token(key, algorithm, kid=kid)) == ["acme"]
    other = "k0" if kid != "k0" else "k1"
    refused(
        await env.get(env.issuer.token(key, algorithm, kid=other)),
        "this token is signed with an unknown key",
    )


async def test_no_token_is_taken_without_a_signature(env: OidcEnv) -> None:
    await env.sees(env.issuer.token())
    token = env.issuer.token()
    _, body, signature = token.split(".")
    for algorithm in ("none", "None", "NONE", "nOnE", "", None, ["RS256"], 256):
        head = part({"alg": algorithm, "typ": "JWT", "kid": "first"})
        for tail in ("", signature):
            answer = await env.get(f"{head}.{body}.{tail}")
            assert answer.status_code == 401, (algorithm, answer.text)
    header = {"alg": "RS256", "kid": "first", "crit": ["b64"], "b64": False}
    assert (await env.get(f"{part(header)}.{body}.{signature}")).status_code == 401


async def test_the_public_key_is_no_hmac_secret(env: OidcEnv) -> None:
    await env.sees(env.issuer.token())
    key = RSA_KEY.public_key()
    _, body, _ = env.issuer.token(roles=["platform-admin"], tenant=None).split(".")
    secrets = [
        key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(env.issuer.keys[0]).encode(),
    ]
    for secret in secrets:
        head = part({"alg": "HS256", "typ": "JWT", "kid": "first"})
        signature = hmac.digest(secret, f"{head}.{body}".encode(), hashlib.sha256)
        refused(
            await env.get(f"{head}.{body}.{encoded(signature)}"),
            "this token has an unsupported signature algorithm",
        )


async def test_a_key_in_the_token_is_not_looked_at(env: OidcEnv) -> None:
    _, body, _ = env.issuer.token().split(".")
    header = {
        "alg": "RS256",
        "kid": "mine",
        "jwk": public(OTHER_RSA_KEY, "mine"),
        "jku": f"{env.issuer.url}/mine",
    }
    token = jwt.encode(json.loads(decoded(body)), OTHER_RSA_KEY, "RS256", headers=header)
    refused(await env.get(token), "this token is signed with an unknown key")
    assert not any(path.endswith("/mine") for path in env.issuer.fetched)


async def test_a_forged_signature_and_changed_claims_are_refused(env: OidcEnv) -> None:
    refused(await env.get(env.issuer.token(OTHER_RSA_KEY)), "the signature of this token is wrong")
    head, body, signature = env.issuer.token().split(".")
    claims = json.loads(decoded(body)) | {"tenant": "other"}
    refused(
        await env.get(f"{head}.{part(claims)}.{signature}"), "the signature of this token is wrong"
    )
    refused(await env.get(f"{head}.{body}."), "the signature of this token is wrong")


async def test_what_a_token_must_say(env: OidcEnv) -> None:
    now, token = time.time(), env.issuer.token
    lacking = "this token lacks one of the claims exp, iat, iss, aud, sub"
    for claims, detail in (
        ({"exp": now - 60}, "this token has expired"),
        ({"nbf": now + 60}, "this token is not in force yet"),
        ({"iat": now + 60}, "this token is not in force yet"),
        ({"aud": "somebody-else"}, "this token is meant for somebody else"),
        ({"aud": []}, lacking),
        ({"aud": {"posthorn": True}}, "this token is meant for somebody else"),
        ({"iss": "https://elsewhere.test"}, "this token is of another issuer"),
        ({"iss": f"{env.issuer.url}/"}, "this token is of another issuer"),
        ({"exp": None}, lacking),
        ({"iat": None}, lacking),
        ({"aud": None}, lacking),
        ({"iss": None}, lacking),
        ({"sub": None}, lacking),
        ({"sub": ""}, "this token names no subject"),
        ({"sub": "a\nb"}, "this token names no subject"),
        ({"sub": "x" * 256}, "this token names no subject"),
        ({"exp": "soon"}, "this token is not valid"),
        ({"exp": 1e400}, "this token is not valid"),
    ):
        answer = await env.get(token(**claims))
        refused(answer, detail)
    for fine in (
        {"exp": now - 10},
        {"nbf": now + 10},
        {"iat": now + 10},
        {"aud": ["x", "mail"]},
        {"aud": "mail"},
    ):
        assert await env.sees(token(**fine)) == ["acme"], fine  # clocks differ by some seconds


@pytest.mark.parametrize(
    "shown", ["eyJ.e.", "ey.ey.ey", "eyJhbGciOiJSUzI1NiJ9.e30.", f"eyJ{'a' * 20_000}.b.c"]
)
async def test_what_does_not_read_is_refused(env: OidcEnv, shown: str) -> None:
    assert (await env.get(shown)).status_code == 401


async def test_a_token_without_tenant_or_role_opens_nothing(env: OidcEnv) -> None:
    token, ours = env.issuer.token, "this token names no tenant of ours"
    for claims, detail in (
        ({"tenant": None}, "this token names no tenant"),
        ({"tenant": None, "roles": "platform-admin"}, "this token names no tenant"),
        ({"tenant": "nobody"}, ours),
        ({"tenant": ["acme"]}, ours),
        ({"tenant": "acme\0"}, ours),
        ({"tenant": "a" * 101}, ours),
        ({"roles": None}, "this token names no role that counts here"),
        ({"roles": ["something else", 7, None]}, "this token names no role that counts here"),
        ({"roles": {"tenant-admin": True}}, "this token names no role that counts here"),
        ({"roles": "platform-admin"}, "this token names no role that counts here"),
    ):
        document = problem(await env.get(token(**claims)), 403, "forbidden")
        assert document["detail"] == detail


async def test_the_whole_platform_is_open_where_the_settings_say_so(env: OidcEnv) -> None:
    env.trust(platform=True)
    token = env.issuer.token
    assert await env.sees(token(tenant=None, roles="platform-admin")) == [
        "acme",
        "default",
        "other",
    ]
    assert await env.sees(token(tenant=None, roles="read-only")) == ["acme", "default", "other"]
    problem(await env.get(token(tenant=None, roles="tenant-admin")), 403, "forbidden")
    assert await env.sees(token(roles=["platform-admin", "read-only"])) == ["acme"], (
        "a tenant's stays the tenant's"
    )
    problem(await env.get(token(roles="platform-admin")), 403, "forbidden")


async def test_claims_and_roles_are_called_as_the_settings_say(env: OidcEnv) -> None:
    env.trust(
        role_claim="realm_access.roles",
        tenant_claim="https://posthorn.test/tenant",
        roles={
            "mail-admins": Role.TENANT_ADMIN,
            "helpdesk": Role.READ_ONLY,
            "robots": Role.SEND_ONLY,
        },
    )
    told: dict[str, Any] = {"https://posthorn.test/tenant": "other", "tenant": None, "roles": None}

    def token(*roles: str) -> str:
        return env.issuer.token(**told, realm_access={"roles": roles})

    assert await env.sees(token("helpdesk")) == ["other"]
    assert await env.sees(token("robots", "helpdesk")) == ["other"], "the mightiest counts"
    headers = bearer(token("helpdesk", "mail-admins"))
    assert (
        await env.api.client.post("/v1/domains", json={"name": "o.test"}, headers=headers)
    ).status_code == 201
    problem(await env.get(token("tenant-admin")), 403, "forbidden")


async def test_a_tenant_is_named_by_its_id_too(env: OidcEnv) -> None:
    (tenant,) = await env.api.sql("SELECT id FROM tenants WHERE name = 'acme'")
    assert await env.sees(env.issuer.token(tenant=str(tenant["id"]))) == ["acme"]


async def test_a_suspended_tenants_tokens_are_refused_within_two_seconds(env: OidcEnv) -> None:
    token = env.issuer.token()
    assert await env.sees(token) == ["acme"]

    async def shut() -> bool:
        return (await env.get(token)).status_code == 403

    async def open_again() -> bool:
        return (await env.get(token)).status_code == 200

    await env.api.client.patch("/v1/tenants/acme", json={"state": "suspended"})
    await until(shut, BUSY_SECONDS, what="the tenant's being shut out")
    assert problem(await env.get(token), 403, "forbidden")["detail"] == "the tenant is suspended"
    await env.api.client.patch("/v1/tenants/acme", json={"state": "active"})
    await until(open_again, BUSY_SECONDS, what="the tenant's being let in again")


async def test_a_rotated_key_is_fetched_and_the_old_one_forgotten(env: OidcEnv) -> None:
    old = env.issuer.token()
    assert await env.sees(old) == ["acme"]
    env.issuer.keys = [public(OTHER_RSA_KEY, "second")]
    assert await env.sees(old) == ["acme"], "nothing is fetched while the key is known"
    assert len(env.issuer.fetched) == 2
    env.clock.now += 10
    assert await env.sees(env.issuer.token(OTHER_RSA_KEY, kid="second")) == ["acme"]
    assert len(env.issuer.fetched) == 4
    refused(await env.get(old), "this token is signed with an unknown key")


async def test_many_unknown_keys_cost_one_fetch(env: OidcEnv) -> None:
    assert await env.sees(env.issuer.token()) == ["acme"]
    env.clock.now += 10
    strange = [env.issuer.token(OTHER_RSA_KEY, kid=f"strange {number}") for number in range(30)]
    answers = await asyncio.gather(*map(env.get, strange))
    assert {answer.status_code for answer in answers} == {401}
    assert len(env.issuer.fetched) == 4
    for _ in range(3):
        env.clock.now += 3
        assert (await env.get(strange[0])).status_code == 401
    assert len(env.issuer.fetched) == 4, "not within ten seconds"
    assert await env.sees(env.issuer.token()) == ["acme"]
    env.clock.now += 10
    await env.get(strange[0])
    assert len(env.issuer.fetched) == 6


async def test_while_the_issuer_is_away_known_keys_go_on_and_unknown_ones_are_a_matter_for_later(
    env: OidcEnv,
) -> None:
    env.issuer.is_down = True
    answer = await env.get(env.issuer.token())
    problem(answer, 503, "unavailable")
    assert env.issuer.url not in answer.text
    env.issuer.is_down = False
    env.clock.now += 10
    assert await env.sees(env.issuer.token()) == ["acme"]
    env.issuer.is_down = True
    env.clock.now += 10
    for _ in range(2):
        problem(await env.get(env.issuer.token(OTHER_RSA_KEY, kid="second")), 503, "unavailable")
        assert await env.sees(env.issuer.token()) == ["acme"]


@pytest.mark.parametrize(
    "configuration",
    [
        {"issuer": "https://elsewhere.test"},
        {"jwks_uri": None},
        {"jwks_uri": "http://keys.elsewhere.test/"},
        {"jwks_uri": "file:///etc/passwd"},
    ],
)
async def test_a_configuration_that_is_not_the_issuers_gives_no_keys(
    env: OidcEnv, configuration: dict[str, Any]
) -> None:
    env.issuer.configuration = configuration
    problem(await env.get(env.issuer.token()), 503, "unavailable")
    assert len(env.issuer.fetched) == 1


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits long")
async def test_keys_that_are_not_for_signatures_or_too_short_are_not_taken(env: OidcEnv) -> None:
    env.issuer.keys = [
        public(RSA_KEY, "encrypts", use="enc"),
        public(SHORT_RSA_KEY, "short"),
        public(OTHER_RSA_KEY, "other algorithm", alg="RS512"),
        {"kty": "oct", "k": encoded(b"k" * 32), "kid": "shared", "alg": "HS256"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        public(ED_KEY, "good"),
    ]
    assert await env.sees(env.issuer.token(ED_KEY, "EdDSA", kid="good")) == ["acme"]
    for key, kid in (
        (RSA_KEY, "encrypts"),
        (SHORT_RSA_KEY, "short"),
        (OTHER_RSA_KEY, "other algorithm"),
    ):
        assert (await env.get(env.issuer.token(key, kid=kid))).status_code == 401, kid
    shared = env.issuer.token("k" * 32, "HS256", kid="shared")
    refused(await env.get(shared), "this token has an unsupported signature algorithm")


async def test_a_token_without_a_key_id_is_of_the_only_key_there_is(env: OidcEnv) -> None:
    env.issuer.keys = [public(RSA_KEY, None), public(EC_KEY, "curve")]
    assert await env.sees(env.issuer.token(kid=None)) == ["acme"]
    env.issuer.keys.append(public(OTHER_RSA_KEY, "another"))
    env.clock.now += 10
    assert (await env.get(env.issuer.token(EC_KEY, "ES256", kid="unknown"))).status_code == 401
    assert (await env.get(env.issuer.token(kid=None))).status_code == 401, (
        "which of two is not said"
    )


async def test_the_keys_are_renewed_in_the_background(database_url: str) -> None:
    async with running_issuer() as issuer:
        keys = IssuerKeys(issuer.url, fetch, refresh_seconds=0.05)
        running = asyncio.create_task(keys.run())
        try:

            async def knows(kid: str) -> bool:
                return keys._knows(kid)

            await until(lambda: knows("first"), BUSY_SECONDS, what="the first fetch")
            issuer.keys = [public(EC_KEY, "second")]
            await until(lambda: knows("second"), BUSY_SECONDS, what="the next fetch")
            assert await keys.find("first", "RS256") is None
        finally:
            running.cancel()
            await asyncio.wait([running])


async def test_a_repeat_under_an_idempotency_key_holds_beyond_the_renewal_of_a_token(
    env: OidcEnv,
) -> None:
    key, body = {"Idempotency-Key": "1"}, {"name": "acme.test"}
    first = await env.api.client.post(
        "/v1/domains", json=body, headers=key | bearer(env.issuer.token())
    )
    assert first.status_code == 201, first.text
    renewed = bearer(env.issuer.token(jti="another"))
    again = await env.api.client.post("/v1/domains", json=body, headers=key | renewed)
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    changed = await env.api.client.post(
        "/v1/domains", json={"name": "b.test"}, headers=key | renewed
    )
    problem(changed, 422, "idempotency-key-reused")
    somebody = bearer(env.issuer.token(sub="somebody"))
    theirs = await env.api.client.post(
        "/v1/domains", json={"name": "b.test"}, headers=key | somebody
    )
    assert theirs.status_code == 201, "another caller's keys are another's"


async def test_without_an_issuer_a_token_is_an_unknown_key(
    database_url: str, tmp_path: Path
) -> None:
    async with running_issuer() as issuer, running_api(database_url, FileBlobs(tmp_path)) as api:
        answer = await api.client.get(WHO, headers=bearer(issuer.token()))
        refused(answer, "this API key is not known: it is mistyped, or has been deleted")
        assert issuer.fetched == []


async def test_the_process_takes_tokens_as_its_settings_say_and_ends_well(
    database_url: str, nats: Nats, tmp_path: Path, client: httpx.AsyncClient
) -> None:
    async with running_issuer() as issuer:
        env = variables(database_url, nats.url, tmp_path, POSTHORN_API_ADMIN_KEY=KEY)
        env |= {"POSTHORN_OIDC_ISSUER": issuer.url, "POSTHORN_OIDC_AUDIENCE": AUDIENCE}
        process = await spawn(env)
        try:
            url = await ready(env)
            await until(
                lambda: _has(issuer.fetched, 2), BUSY_SECONDS, what="the fetch at the start"
            )
            assert (
                await client.post(f"{url}/v1/tenants", json={"name": "acme"})
            ).status_code == 201
            token = issuer.token()
            answer = await client.get(url + WHO, headers=bearer(token))
            assert [each["name"] for each in answer.json()["items"]] == ["acme"]
            assert len(issuer.fetched) == 2, "no caller waits for what is known"
        finally:
            status, out = await end(process)
    assert status == 0, out
    assert token not in out
    assert '"key_name":"oidc:ann"' in out


async def _has(fetched: list[str], number: int) -> bool:
    return len(fetched) >= number


def part(document: object) -> str:
    return encoded(json.dumps(document).encode())


def encoded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
