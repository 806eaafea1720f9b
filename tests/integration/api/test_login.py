"""Sign-in of browsers: what a session opens, how it is shown, and when it ends."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from posthorn.adapters.blobs.files import FileBlobs
from posthorn.adapters.issuer_fetch import HttpIssuer, fetch
from posthorn.ports.api_keys import Role
from posthorn.ports.tenants import Tenants
from posthorn.runtime.oidc.keys import IssuerKeys
from posthorn.runtime.secret_box import SecretBox
from posthorn_api.auth.tokens import Tokens
from posthorn_api.auth.trust import Trust
from posthorn_api.http.permissions import RULES
from posthorn_api.login.oidc import OidcClient, OidcLogin
from tests.support.api import ADMIN_KEY, SECRET_KEY, Api, problem, running_api
from tests.support.issuer import AUDIENCE, Issuer, bearer, running_issuer
from tests.support.polling import BUSY_SECONDS, until

SAME = {"Sec-Fetch-Site": "same-origin"}
NOBODY = {"Authorization": ""}


def cookie_of(answer: httpx.Response, name: str = "__Host-posthorn") -> str:
    """The cookie that an answer sets, which must be one that browsers keep from scripts."""
    for field in answer.headers.get_list("set-cookie"):
        found = SimpleCookie(field)
        if name in found and found[name].value:
            assert found[name]["secure"] and found[name]["httponly"] and found[name]["path"] == "/"
            assert not found[name]["domain"]
            expected = "Strict" if name == "__Host-posthorn" else "Lax"
            assert found[name]["samesite"] == expected
            return found[name].value
    raise AssertionError(f"{name} is not set")


class Browser:
    """Requests without a key, with cookies."""

    def __init__(self, api: Api) -> None:
        self.client = httpx.AsyncClient(base_url=api.url, timeout=BUSY_SECONDS, verify=False)
        self.cookies: dict[str, str] = {}

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**SAME, **options.pop("headers", {})}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={it}" for name, it in self.cookies.items())
        return await self.client.request(method, path, headers=headers, **options)

    async def sign_in(self, **body: str) -> httpx.Response:
        answer = await self.ask("POST", "/v1/login", json=body)
        if answer.status_code == 200:
            self.cookies["__Host-posthorn"] = cookie_of(answer)
        return answer


@pytest.fixture
async def browser(api: Api) -> AsyncIterator[Browser]:
    made = Browser(api)
    async with made.client:
        yield made


async def test_a_key_becomes_a_session_that_opens_the_same_and_ends_on_the_server(
    api: Api, browser: Browser
) -> None:
    methods = await browser.ask("GET", "/v1/login/methods")
    assert methods.json() == {"key": True, "account": True, "oidc": None}
    signed_in = await browser.sign_in(key=ADMIN_KEY)
    me = (await browser.ask("GET", "/v1/me")).json()
    assert me == signed_in.json()
    assert (me["kind"], me["name"], me["role"], me["tenant"], me["account"]) == (
        *("key", "bootstrap", "platform-admin"),
        *(None, None),
    )
    assert {"createDomain", "getMe", "createLoginLink"} <= set(me["operations"]) <= set(RULES)
    assert me["version"] and me["expires_at"]
    direct = (await api.client.get("/v1/me")).json()
    assert (direct["expires_at"], direct["operations"]) == (None, me["operations"])
    made = await browser.ask("POST", "/v1/domains", json={"name": "a.test", "dkim": False})
    assert made.status_code == 201, made.text
    (line,) = (await api.client.get("/v1/audit?action=domain")).json()["items"]
    assert line["actor_name"] == "bootstrap"
    (row,) = await api.sql("SELECT b::text AS whole FROM browser_sessions b")
    token = browser.cookies["__Host-posthorn"]
    assert token not in row["whole"] and token.encode().hex() not in row["whole"]
    ended = await browser.ask("DELETE", "/v1/login")
    assert ended.status_code == 204
    assert "Max-Age=0" in ended.headers["set-cookie"]
    problem(await browser.ask("GET", "/v1/me"), 401, "unauthorized")
    assert await api.sql("SELECT FROM browser_sessions") == []
    problem(await api.client.delete("/v1/login"), 409, "conflict")


async def test_a_change_by_cookie_must_come_from_our_own_pages(api: Api, browser: Browser) -> None:
    await browser.sign_in(key=ADMIN_KEY)
    token = browser.cookies["__Host-posthorn"]
    body = {"name": "a.test", "dkim": False}
    for site in ("cross-site", "same-site", "none", ""):
        headers = {"Sec-Fetch-Site": site}
        problem(
            await browser.ask("POST", "/v1/domains", json=body, headers=headers), 403, "cross-site"
        )
        assert (await browser.ask("GET", "/v1/domains", headers=headers)).status_code == 200
    bare = await browser.client.delete("/v1/login", headers={"Cookie": f"__Host-posthorn={token}"})
    problem(bare, 403, "cross-site")
    problem(
        await browser.ask(
            "POST", "/v1/login", json={"key": ADMIN_KEY}, headers={"Sec-Fetch-Site": "cross-site"}
        ),
        403,
        "cross-site",
    )
    # programs show the same token as a key, which no browser sends unasked
    shown = await api.client.post("/v1/domains", json=body, headers=bearer(token))
    assert shown.status_code == 201, shown.text
    problem(await browser.sign_in(key=token), 401, "unauthorized")


async def test_what_is_wrong_signs_nobody_in(api: Api, browser: Browser, accounts: None) -> None:
    problem(await browser.sign_in(key="ph_" + "x" * 43), 401, "unauthorized")
    problem(await browser.sign_in(link="nothing"), 401, "unauthorized")
    for body in (
        {},
        {"key": ADMIN_KEY, "link": "x"},
        {"account": "alice@example.test"},
        {"password": "correct horse"},
    ):
        problem(await browser.sign_in(**body), 422, "invalid")
    wrong = await browser.sign_in(account="alice@example.test", password="wrong")
    problem(wrong, 401, "unauthorized")
    assert "basic" not in wrong.headers["www-authenticate"].lower(), "browsers would ask"
    nobody = await browser.sign_in(account="no@example.test", password="wrong")
    assert nobody.json()["detail"] == wrong.json()["detail"]
    assert browser.cookies == {}
    problem(await browser.ask("GET", "/v1/me"), 401, "unauthorized")
    # the counters are those of mail
    keys = {row["key"].partition(":")[0] for row in await api.sql("SELECT key FROM throttles")}
    assert {"auth-address", "auth-account"} <= keys
    for _ in range(12):
        answer = await browser.sign_in(account="alice@example.test", password="wrong")
    problem(answer, 429, "too-many-requests")
    right = await browser.sign_in(account="alice@example.test", password="correct horse")
    problem(right, 429, "too-many-requests")
    assert right.json()["detail"].startswith("too many failed logins; try again in ")
    assert 1 <= int(right.headers["retry-after"]) <= 600


async def test_an_account_signs_in_and_reaches_its_own_alone(
    api: Api, browser: Browser, accounts: None
) -> None:
    await browser.sign_in(account="Alice@Example.TEST", password="correct horse")
    me = (await browser.ask("GET", "/v1/me")).json()
    assert (me["kind"], me["name"], me["role"]) == ("account", "alice@example.test", "account")
    assert me["tenant"]["name"] == "default"
    (row,) = await api.sql("SELECT id FROM accounts WHERE address = 'alice@example.test'")
    assert me["account"] == {"id": row["id"], "address": "alice@example.test"}
    own = {name for name, rule in RULES.items() if rule.own or rule.me}
    assert own < set(me["operations"])
    assert "listDomains" not in me["operations"]
    for name, status in (("alice", 200), ("bob", 403)):
        path = f"/v1/accounts/{name}@example.test/content-access"
        assert (await browser.ask("GET", path)).status_code == status
    problem(await browser.ask("GET", "/v1/domains"), 403, "forbidden")
    problem(await browser.ask("POST", "/v1/login/links"), 403, "forbidden")


@pytest.mark.parametrize("end", ["password", "suspension", "deletion", "idle", "old", "network"])
async def test_what_ends_the_session_of_an_account(
    api: Api, browser: Browser, accounts: None, end: str
) -> None:
    await browser.sign_in(account="alice@example.test", password="correct horse")
    path = "/v1/accounts/alice@example.test"
    assert (await browser.ask("GET", "/v1/me")).status_code == 200
    status = 401
    if end == "password":
        await api.client.patch(path, json={"password": "another good one"})
    elif end == "suspension":
        await api.client.patch(path, json={"state": "suspended"})
        status = 403
    elif end == "network":
        await api.client.patch(path, json={"allowed_networks": ["192.0.2.0/24"]})
        status = 403
    elif end == "deletion":
        await api.client.delete(path)
    elif end == "idle":
        await api.sql("UPDATE browser_sessions SET seen_at = now() - interval '8 hours 1 second'")
    else:
        await api.sql("UPDATE browser_sessions SET expires_at = now()")

    async def has_ended() -> bool:
        return (await browser.ask("GET", "/v1/me")).status_code == status

    await until(has_ended)
    if end in ("idle", "old"):
        await api.sql("SELECT 1")
        assert await api.guard.callers._sessions.expire() == 1  # type: ignore[union-attr]


async def test_a_session_ends_with_its_key_and_its_rights_are_those_of_the_key(
    api: Api, browser: Browser
) -> None:
    tenant = await api.tenant("acme")
    made = await api.client.post(
        "/v1/api-keys",
        json={
            "name": "n",
            "role": "read-only",
            "tenant": "acme",
            "expires_at": "2126-01-01T00:00:00Z",
        },
    )
    await browser.sign_in(key=made.json()["key"])
    me = (await browser.ask("GET", "/v1/me")).json()
    assert me["tenant"] == {"id": str(tenant), "name": "acme"}
    assert me["expires_at"] < "2126"
    assert "listMessages" not in me["operations"]
    assert "listDomains" in me["operations"]
    answer = await browser.ask("POST", "/v1/domains", json={"name": "a.test"})
    problem(answer, 403, "forbidden")
    await api.client.delete(f"/v1/api-keys/{made.json()['id']}")

    async def has_ended() -> bool:
        return (await browser.ask("GET", "/v1/me")).status_code == 401

    await until(has_ended)


async def test_a_link_signs_in_once_as_the_key_that_made_it(api: Api, browser: Browser) -> None:
    made = await api.client.post("/v1/login/links")
    assert made.status_code == 201
    link = made.json()["link"]
    assert made.json()["path"] == f"/console/#link={link}"
    (row,) = await api.sql("SELECT l::text AS whole FROM login_links l")
    assert link not in row["whole"]
    answers = await asyncio.gather(*(browser.sign_in(link=link) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401]
    assert (await browser.ask("GET", "/v1/me")).json()["name"] == "bootstrap"
    late = (await api.client.post("/v1/login/links")).json()["link"]
    await api.sql("UPDATE login_links SET expires_at = now()")
    problem(await browser.sign_in(link=late), 401, "unauthorized")
    (line, *_) = (await api.client.get("/v1/audit?action=login-link")).json()["items"]
    assert line["actor_name"] == "bootstrap"
    admin = await api.key(Role.TENANT_ADMIN, await api.tenant("acme"))
    problem(await api.client.post("/v1/login/links", headers=admin), 403, "forbidden")


async def test_one_caller_has_a_bounded_number_of_sessions_and_links(
    api: Api, browser: Browser
) -> None:
    await browser.sign_in(key=ADMIN_KEY)
    await api.sql(
        "INSERT INTO browser_sessions (id, token_hash, owner, api_key_id, expires_at, created_at)"
        " SELECT gen_random_uuid(), sha256(n::text::bytea), owner, api_key_id, expires_at, created_at - interval '1 h'"
        " FROM browser_sessions, generate_series(1, 60) AS n"
    )
    for _ in range(25):
        await api.client.post("/v1/login/links")
    await browser.sign_in(key=ADMIN_KEY)
    assert len(await api.sql("SELECT FROM browser_sessions")) == 50
    assert len(await api.sql("SELECT FROM login_links")) == 20
    assert (await browser.ask("GET", "/v1/me")).status_code == 200


class SigningIssuer:
    """An issuer with a page to sign in and a token endpoint."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.asked: dict[str, str] = {}
        self.claims: dict[str, Any] = {}

    def authorize(self, location: str) -> str:
        """Sign in as a person would; return the query that the browser comes back with."""
        parts = urlsplit(location)
        assert location.startswith(f"{self.issuer.url}/authorize?")
        self.asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return f"code=the-code&state={self.asked['state']}"


@pytest.fixture
async def signing(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[Api, SigningIssuer]]:
    async with running_issuer() as issuer:
        issuer.configuration = {
            "authorization_endpoint": f"{issuer.url}/authorize",
            "token_endpoint": f"{issuer.url}/token",
        }
        signing = SigningIssuer(issuer)

        def redeem(form: dict[str, str], basic: str) -> dict[str, Any]:
            asked = signing.asked
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            assert asked["code_challenge_method"] == "S256"
            assert base64.b64decode(basic).decode() == "the+client:a%3Asecret"
            if form["code"] != "the-code" or challenge != asked["code_challenge"]:
                return {"error": "invalid_grant"}
            claims = {"aud": "the client", "nonce": asked["nonce"], **signing.claims}
            return {"id_token": issuer.token(**claims), "access_token": "opaque"}

        issuer.redeem = redeem
        keys = IssuerKeys(issuer.url, fetch)

        def tokens(tenants: Tenants) -> Tokens:
            return Tokens(Trust(issuer.url, (AUDIENCE,)), keys, tenants, b"s" * 32)

        client = OidcClient(
            *("the client", "a:secret", "https://post.test/v1/login/oidc/callback", "Example ID")
        )
        async with running_api(
            database_url,
            FileBlobs(tmp_path),
            tokens=tokens,
            oidc_login=lambda verifier: OidcLogin(
                client, HttpIssuer(issuer.url), verifier, SecretBox([SECRET_KEY])
            ),
        ) as api:
            await api.tenant("acme")
            yield api, signing


async def test_a_person_signs_in_at_the_issuer(signing: tuple[Api, SigningIssuer]) -> None:
    api, issuer = signing
    browser = Browser(api)
    async with browser.client:
        methods = (await browser.ask("GET", "/v1/login/methods")).json()
        assert methods["oidc"] == {"name": "Example ID"}

        async def begun(path: str = "/console/queue?state=held") -> str:
            answer = await browser.ask("GET", "/v1/login/oidc", params={"next": path})
            assert answer.status_code == 302, answer.text
            browser.cookies = {"__Host-posthorn-oidc": cookie_of(answer, "__Host-posthorn-oidc")}
            return issuer.authorize(answer.headers["location"])

        async def back(query: str) -> httpx.Response:
            return await browser.ask("GET", f"/v1/login/oidc/callback?{query}")

        done = await back(await begun())
        assert (done.status_code, done.headers["location"]) == (302, "/console/queue?state=held")
        browser.cookies = {"__Host-posthorn": cookie_of(done)}
        assert "Max-Age=28800" in next(
            each for each in done.headers.get_list("set-cookie") if "__Host-posthorn=" in each
        )
        me = (await browser.ask("GET", "/v1/me")).json()
        left = datetime.fromisoformat(me["expires_at"]) - datetime.now(UTC)
        assert timedelta(hours=7) < left <= timedelta(hours=8)
        assert (me["kind"], me["name"], me["role"]) == ("token", "oidc:ann", "tenant-admin")
        assert me["tenant"]["name"] == "acme"
        made = await browser.ask("POST", "/v1/domains", json={"name": "acme.test", "dkim": False})
        assert made.status_code == 201, made.text
        problem(await browser.ask("POST", "/v1/login/links"), 403, "forbidden")

        # who has lost the role at the issuer is signed out everywhere
        again = await back(await begun())
        browser.cookies = {"__Host-posthorn": cookie_of(again)}
        for subject, ended in (
            ("oidc:ann", 0),
            ("bob", 0),
            ("bootstrap", 0),
            ("ann", 2),
            ("ann", 0),
        ):
            answer = await api.client.post("/v1/login/sessions/end", json={"subject": subject})
            assert (answer.status_code, answer.json()) == (200, {"ended": ended}), subject

        async def is_out() -> bool:
            return (await browser.ask("GET", "/v1/me")).status_code == 401

        await until(is_out)
        line = (await api.client.get("/v1/audit?action=session.end")).json()["items"][1]
        assert (line["object"], line["details"]) == ("oidc:ann", {"sessions": 2})

        # each of the checks by itself
        query = await begun()
        problem(await back(query.replace("state=", "state=x")), 401, "unauthorized")
        problem(await back("error=access_denied&" + query[14:]), 401, "unauthorized")
        problem(await back(query.replace("the-code", "stolen")), 401, "unauthorized")
        cookie = browser.cookies.pop("__Host-posthorn-oidc")
        problem(await back(query), 401, "unauthorized")
        browser.cookies["__Host-posthorn-oidc"] = cookie[:-6] + "AAAA=="
        problem(await back(query), 401, "unauthorized")
        await begun()
        problem(await back(query), 401, "unauthorized")  # another's flow
        for claims, status in (
            ({"nonce": "another"}, 401),
            ({"nonce": None}, 401),
            ({"aud": AUDIENCE}, 401),
            ({"aud": ["the client", "other"], "azp": "other"}, 401),
            ({"exp": 1}, 401),
            ({"roles": []}, 403),
            ({"tenant": "nobody"}, 403),
        ):
            issuer.claims = claims
            refused = await back(await begun())
            assert refused.status_code == status, (claims, refused.text)
            assert "set-cookie" not in refused.headers
        for path in (
            *("/v1/me", "//evil.test/console/", "https://evil.test", "/console/../v1", ""),
            *("/console/%2e%2e/v1/me", "/console/.%2E/", "/console/%2F/evil.test", "/console/%5c"),
        ):
            answer = await browser.ask("GET", "/v1/login/oidc", params={"next": path})
            problem(answer, 422, "invalid")
        issuer.issuer.is_down = True
        answer = await back(
            issuer.authorize((await _begin_with_known(browser)).headers["location"])
        )
        problem(answer, 503, "unavailable")


async def _begin_with_known(browser: Browser) -> httpx.Response:
    answer = await browser.ask("GET", "/v1/login/oidc")
    browser.cookies = {"__Host-posthorn-oidc": cookie_of(answer, "__Host-posthorn-oidc")}
    return answer


async def test_without_an_issuer_nobody_signs_in_there(api: Api, browser: Browser) -> None:
    for path in ("/v1/login/oidc", "/v1/login/oidc/callback?code=x&state=y"):
        problem(await browser.ask("GET", path), 404, "not-found")
