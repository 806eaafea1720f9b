"""The port Administration on Postgres: domains, accounts and aliases, each in a module of its
own."""

from __future__ import annotations

from collections.abc import Sequence

from posthorn.adapters.postgres.database import Database
from posthorn.adapters.postgres.directory.accounts import PostgresAccounts
from posthorn.adapters.postgres.directory.aliases import PostgresAliases
from posthorn.adapters.postgres.directory.domains import PostgresDomains
from posthorn.adapters.postgres.directory.forward_targets import NO_POLICY
from posthorn.ports.forwards import ForwardPolicy


class PostgresAdministration(PostgresDomains, PostgresAccounts, PostgresAliases):
    """All of them over one database."""

    def __init__(
        self, database: Database, policy: ForwardPolicy = NO_POLICY, postmasters: Sequence[str] = ()
    ) -> None:
        PostgresDomains.__init__(self, database, postmasters)
        self.policy = policy

    async def probe(self) -> None:
        await self._database.probe()
