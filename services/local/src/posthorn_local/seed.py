"""The first domain and two accounts, created through the REST API.

``accounts.txt`` exists when all of it is done. Until then the passwords are in
``accounts.txt.unfinished``, so that an interrupted start continues with the same ones. When the
file has been removed, the next start sets new passwords for both accounts.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import httpx

from posthorn_local.home import write_secret

DOMAIN = "example.test"
ADDRESSES = (f"alice@{DOMAIN}", f"bob@{DOMAIN}")


class SeedError(RuntimeError):
    """The API did not accept the domain or an account."""


def seed(api: httpx.Client, accounts: Path) -> None:
    """Create the domain and the accounts unless the file ``accounts`` exists. Raises SeedError."""
    if accounts.exists():
        return
    unfinished = accounts.with_name(accounts.name + ".unfinished")
    if not unfinished.exists():
        write_secret(
            unfinished, "".join(f"{address} {secrets.token_urlsafe(12)}\n" for address in ADDRESSES)
        )
    try:
        # nobody can look up the keys of a .test domain
        _make(api, "/v1/domains", {"name": DOMAIN, "dkim": False})
        for line in unfinished.read_text().splitlines():
            address, _, password = line.partition(" ")
            if not _make(api, "/v1/accounts", {"address": address, "password": password}):
                _expect(
                    api.patch(f"/v1/accounts/{address}", json={"password": password}),
                    httpx.codes.OK,
                )
    except httpx.HTTPError as error:
        raise SeedError(f"the API did not answer: {type(error).__name__}") from error
    unfinished.replace(accounts)


def sign_in_link(api: httpx.Client) -> str:
    """Return path and fragment of the console by which a browser signs in once. Raises SeedError."""
    try:
        answer = api.post("/v1/login/links")
    except httpx.HTTPError as error:
        raise SeedError(f"the API did not answer: {type(error).__name__}") from error
    _expect(answer, httpx.codes.CREATED)
    path: str = answer.json()["path"]
    return path


def _make(api: httpx.Client, path: str, document: dict[str, object]) -> bool:
    answer = api.post(path, json=document)
    if answer.status_code == httpx.codes.CONFLICT:
        return False
    _expect(answer, httpx.codes.CREATED)
    return True


def _expect(answer: httpx.Response, status: httpx.codes) -> None:
    if answer.status_code != status:
        raise SeedError(
            f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}: {answer.text}"
        )
