"""Settings of the API, read from the environment."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode

from posthorn.model.dns_records import Endpoint, Presence
from posthorn.model.events import SHARES
from posthorn.model.networks import Network
from posthorn.ports.api_keys import Role
from posthorn.ports.forwards import ForwardPolicy
from posthorn.runtime.env_settings import Bytes, EnvSettings, Pairs, Port, Seconds
from posthorn.runtime.http import HttpLimits
from posthorn.runtime.oidc.settings import OidcIssuerSettings
from posthorn.runtime.postmasters import Postmasters
from posthorn.runtime.queue_settings import QueueSettings
from posthorn.runtime.setting_lists import listed
from posthorn.runtime.settings import (
    BlobSettings,
    FramesSettings,
    IntakeSettings,
    LoginLimitSettings,
    NatsSettings,
    PostgresSettings,
    ProcessSettings,
    ProxyNetworks,
    RateSettings,
    ReplicationSettings,
    ReportSettings,
    ResolverSettings,
    SecretSettings,
    network_of,
)
from posthorn.runtime.traces import TraceSettings
from posthorn.wire.address import canonical_domain, parse_address
from posthorn.wire.mta_sts import Mode
from posthorn_api.auth.trust import Trust
from posthorn_api.digests.settings import DigestSettings
from posthorn_api.http.rate_limit import RateLimit
from posthorn_api.login.oidc import OidcClient
from posthorn_api.sending.service import SendingLimits

Count = Annotated[int, Field(ge=1)]

SHORTEST_KEY = 32
"""Characters that the admin key must have at least."""


def _host(text: str) -> str:
    name = canonical_domain(text)
    if name.startswith("["):
        raise ValueError("must be a host name, not an address")
    return name


def _record_name(text: str) -> str:
    """A name that is looked up and is no host's: labels may begin with an underscore (RFC 8552)."""
    labels = text.split(".")
    canonical_domain(".".join(label.removeprefix("_") for label in labels))
    return text.lower()


def _source(text: str) -> str:
    network = network_of(text)
    return str(network.network_address if network.num_addresses == 1 else network)


def _network(value: object) -> object:
    return network_of(value) if isinstance(value, str) else value


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise ValueError("must be an IP address, such as 192.0.2.1 or 2001:db8::1") from None


Host = Annotated[str, AfterValidator(_host)]


class PublicSettings(IntakeSettings, ResolverSettings):
    """What the mail system is called from outside: for the DNS records of domains, and for mail
    clients."""

    public_mx: Annotated[tuple[Host, ...], NoDecode, BeforeValidator(listed)] = ()
    """Hosts that MX records name, the preferred one first, by comma or as a JSON list; unset,
    POSTHORN_SMTP_HOSTNAME."""
    public_submission: Host | None = None
    """The host that mail clients send by; unset, the first MX host."""
    public_submission_port: Port = 587
    """With STARTTLS; 0: not offered."""
    public_submissions_port: Port = 465
    """With TLS from the start; 0: not offered."""
    public_imap: Host | None = None
    """The host that mail clients read by over IMAP; unset, the first MX host."""
    public_imap_port: Port = 143
    """With STARTTLS; 0: not offered."""
    public_imaps_port: Port = 993
    """With TLS from the start; 0: not offered."""
    public_pop3: Host | None = None
    """The host that mail clients read by over POP3; unset, the first MX host."""
    public_pop3_port: Port = 110
    """With STLS; 0: not offered."""
    public_pop3s_port: Port = 995
    """With TLS from the start; 0: not offered."""
    public_web: Host | None = None
    """The host under which this API is reached over HTTPS for MTA-STS policies and settings of
    mail clients; unset, the first MX host. Its certificate must hold ``mta-sts.<domain>`` and
    ``autoconfig.<domain>`` of every domain that uses them."""
    public_mta_sts: Literal["testing", "enforce", "none"] = "testing"
    """What the MTA-STS policy of all domains asks senders to do when a secure connection fails;
    none: there is no policy."""
    public_spf_include: Annotated[str, AfterValidator(_record_name)] | None = None
    """A domain whose SPF record names the addresses that mail leaves from: domains then include
    it. Unset, they name POSTHORN_OUTBOUND_ADDRESSES, or without those their MX."""
    public_reports: str | None = None
    """Where reports of DMARC and TLS go; unset, to the postmaster of each domain."""
    outbound_addresses: Annotated[
        tuple[Annotated[str, AfterValidator(_source)], ...], NoDecode, BeforeValidator(listed)
    ] = ()
    """Addresses or networks that mail leaves from, by comma or as a JSON list."""
    watch_addresses: Annotated[
        tuple[Annotated[str, AfterValidator(_address)], ...], NoDecode, BeforeValidator(listed)
    ] = ()
    """Addresses that the blocklists of the scanning tier are asked for, by comma or as a JSON list;
    unset, those of POSTHORN_OUTBOUND_ADDRESSES, where a network has at most 16 of them."""

    @field_validator(
        "public_submission",
        "public_imap",
        "public_pop3",
        "public_web",
        "public_spf_include",
        "public_reports",
        mode="before",
    )
    @classmethod
    def _blank_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("public_reports")
    @classmethod
    def _reports_have_an_address(cls, value: str | None) -> str | None:
        return None if value is None else str(parse_address(value))

    @property
    def presence(self) -> Presence:
        """All that, with what stands in for what is unset."""
        mx = self.public_mx or (self.smtp_hostname,)
        submission = self.public_submission or mx[0]
        imap, pop3 = self.public_imap or mx[0], self.public_pop3 or mx[0]
        return Presence(
            mx=mx,
            web=self.public_web or mx[0],
            submission=Endpoint(submission, self.public_submission_port),
            submissions=Endpoint(submission, self.public_submissions_port),
            imap=Endpoint(imap, self.public_imap_port),
            imaps=Endpoint(imap, self.public_imaps_port),
            pop3=Endpoint(pop3, self.public_pop3_port),
            pop3s=Endpoint(pop3, self.public_pop3s_port),
            outgoing=self.outbound_addresses,
            outgoing_name=self.relay_hostname,
            spf_include=self.public_spf_include,
            reports=self.public_reports,
            mta_sts=Mode(self.public_mta_sts),
        )


class OidcSettings(OidcIssuerSettings):
    """Bearer tokens of an OpenID Connect issuer, beside API keys."""

    NEEDED: ClassVar[Pairs] = (
        ("oidc_roles", "oidc_issuer"),
        ("oidc_platform", "oidc_issuer"),
        ("oidc_client_id", "oidc_issuer"),
        ("oidc_client_secret", "oidc_client_id"),
        ("oidc_redirect_uri", "oidc_client_id"),
    )

    oidc_role_claim: Annotated[str, Field(min_length=1)] = "roles"
    """The claim with the role or a list of roles; ``realm_access.roles`` is the claim ``roles``
    in the object ``realm_access``."""
    oidc_roles: dict[str, Role] = Field(default_factory=dict)
    """Our roles by what the issuer calls them, as a JSON object: ``{"mail-admins":
    "tenant-admin"}``. Unset, it calls them as we do: platform-admin, tenant-admin, read-only,
    send-only."""
    oidc_tenant_claim: Annotated[str, Field(min_length=1)] = "tenant"
    """The claim with the name or id of the tenant."""
    oidc_platform: bool = False
    """Whether a token that names no tenant is taken, for the whole platform; only such a one can
    be a platform admin's."""
    oidc_client_id: str | None = None
    """The client that this API is at the issuer, for sign-ins of browsers by the code flow; unset,
    nobody signs in there. Its ID tokens must have the claims with role and tenant."""
    oidc_client_secret: SecretStr | None = None
    """The client's secret; unset, it is a public client, protected by PKCE alone."""
    oidc_redirect_uri: str | None = None
    """Where the issuer sends browsers back to, as registered there; unset,
    ``https://<public_web>/v1/login/oidc/callback``."""
    oidc_name: Annotated[str, Field(min_length=1, max_length=100)] = "Single sign-on"
    """Name of the issuer on the sign-in page."""
    oidc_session_seconds: Annotated[float, Field(ge=60, le=86_400)] = 28_800.0
    """From the sign-in at the issuer until the session of the browser ends: for so long a role that
    is withdrawn there counts here."""

    @field_validator("oidc_client_id", "oidc_client_secret", "oidc_redirect_uri", mode="before")
    @classmethod
    def _blank_is_no_client(cls, value: object) -> object:
        return None if value == "" else value

    @property
    def oidc(self) -> Trust | None:
        """What is taken of tokens; None: there are none."""
        if self.oidc_issuer is None:
            return None
        return Trust(
            self.oidc_issuer,
            self.oidc_audience,
            self.oidc_role_claim,
            self.oidc_roles or {role.value: role for role in Role if role is not Role.ACCOUNT},
            self.oidc_tenant_claim,
            self.oidc_platform,
            self.oidc_leeway_seconds,
            self.oidc_refresh_seconds,
        )


class ForwardPolicySettings(EnvSettings):
    """What aliases may lead to outside of the domains here (ADR 20)."""

    forward_targets: Annotated[int, Field(ge=0)] = 20
    """Addresses elsewhere that an alias may lead to by the word of a tenant's key; 0 for no
    limit. Platform keys may go beyond."""
    forward_confirmation: Literal["tenants", "always", "never"] = "tenants"
    """Which addresses elsewhere get nothing from an alias before they confirm: those that keys
    of tenants name, those that any key names, or none. Aliases from before this setting are not
    asked."""

    @property
    def forward_policy(self) -> ForwardPolicy:
        """The same for the stores."""
        return ForwardPolicy(
            self.forward_targets or None,
            self.forward_confirmation != "never",
            self.forward_confirmation == "always",
        )


class ApiSettings(
    ProcessSettings,
    PostgresSettings,
    ReplicationSettings,
    NatsSettings,
    FramesSettings,
    BlobSettings,
    SecretSettings,
    PublicSettings,
    RateSettings,
    OidcSettings,
    ForwardPolicySettings,
    QueueSettings,
    LoginLimitSettings,
    DigestSettings,
    ReportSettings,
    TraceSettings,
):
    """Where the API listens, its first key, and its limits."""

    ORDERED: ClassVar[Pairs] = (("send_message_max_bytes", "send_body_max_bytes"),)

    api_host: str = ""
    """Address to listen on; empty: all addresses, IPv4 and IPv6."""
    api_port: Port = 8080
    """Port of the REST API."""
    api_admin_key: SecretStr | None = None
    """The key of the first platform admin, at least 32 visible characters: ``ph_`` and 43 random
    ones is the usual form. Each start puts it in the place of the one before. Without it, and
    without a file, the keys in the database stay as they are."""
    api_admin_key_file: Path | None = None
    """A file that holds that key instead; read at start."""
    trace_url: Annotated[
        str,
        Field(
            pattern=r"^(https?://[^\s{}<>\"]+\{trace_id\}[^\s{}<>\"]*)?$",
            examples=["https://traces.example.org/trace/{trace_id}"],
        ),
    ] = ""
    """URL of a trace in a viewer, such as ``https://traces.example.org/trace/{trace_id}``: the console
    links messages that are traced to it, for keys of the whole platform. Empty: no link."""
    runbook_base_url: Annotated[
        str,
        Field(pattern=r"^(https?://[^\s<>\"]+)?$", examples=["https://docs.example.org/runbooks"]),
    ] = "https://github.com/posthorn/posthorn/blob/main/docs/runbooks"
    """URL of the folder of the runbooks, which problems of the system are linked to. Empty: no links."""
    console: bool = True
    """Whether the console is served at /console/, where the package posthorn-console is installed."""
    api_body_max_bytes: Bytes = 1024 * 1024
    """Bytes of a request's body; more is answered 413."""
    import_body_max_bytes: Bytes = 1024 * 1024 * 1024
    """Bytes of a bulk import, which is read line by line."""
    mail_import_body_max_bytes: Bytes = 64 * 1024 * 1024 * 1024
    """Bytes of an import of mail, which is read as the stores take it."""
    allow_weak_password_hashes: bool = False
    """Whether password hashes of other programs may be set that have no salt or are of MD5, such as
    {PLAIN-MD5}: each is replaced at the account's first login, but whoever has a copy of them knows
    the passwords."""
    audit_retention_days: Annotated[int, Field(ge=0, le=36_500)] = 400
    """Days for which lines of the audit log are kept, those of who read mail included; 0: for
    ever."""
    api_requests_per_minute: Annotated[int, Field(ge=0)] = 6000
    """Requests that one key may make in a process of the API over some time; 0: any number.
    Costly ones count for several."""
    api_requests_burst: Count = 1000
    """Requests that it may make at once after a pause."""
    api_tenant_share: Annotated[float, Field(ge=0)] = 2.0
    """How many times the rate and the burst of one key all keys and tokens of a tenant have
    together; 0: any number."""
    api_unknown_keys_per_minute: Annotated[int, Field(ge=0)] = 300
    """Keys that are not known, which one client address may show to a process; 0: any number."""
    api_header_seconds: Seconds = 10.0
    """How long the header of a request may take."""
    event_readers: Annotated[int, Field(ge=1, le=SHARES)] = 1
    """API processes that read the events at the same time, for the statistics and for webhooks:
    each takes an equal part. At most as many as there are replicas; others stand by. Raise it only
    when every API process has a release that knows this setting."""
    api_connections: Count = 2000
    """Connections to a process."""
    api_connections_per_client: Count = 500
    """Connections of one client address, or of the 64 bits that an IPv6 address begins with. Those
    of POSTHORN_API_PROXY_NETWORKS may have any number."""
    api_proxy_networks: ProxyNetworks = ()
    """Networks that reverse proxies, such as an Ingress controller, connect from, by comma or as a
    JSON list. The client is then the last address in X-Forwarded-For that is in none of them: list
    no network that others can connect from. Empty: the client is who connects."""
    transfer_seconds: Seconds = 21_600.0
    """How long a bulk import, and an import or export of a mailbox, may take in all."""
    directory_reconcile_seconds: Seconds = 600.0
    """How often the directory is compared with the database and put right."""
    dns_check_seconds: Annotated[float, Field(ge=0)] = 21_600.0
    """From one check of a domain's DNS records in the background to the next; 0: none."""
    directory_wait_seconds: Annotated[float, Field(ge=0)] = 10.0
    """How long an answer waits at most until the directory shows the change."""
    feedback_sources: Annotated[
        tuple[Annotated[str, AfterValidator(canonical_domain)], ...],
        NoDecode,
        BeforeValidator(listed),
    ] = ()
    """Domains of feedback loops whose complaints suppress recipients of any domain, such as the
    domain of a provider that runs them for others, by comma or as a JSON list. Each is as in the From
    field of the reports. Others suppress recipients of their own domain, and only recipients."""
    webhook_private_networks: Annotated[
        tuple[Annotated[Network, BeforeValidator(_network)], ...],
        NoDecode,
        BeforeValidator(listed),
    ] = ()
    """Networks that webhooks may lead to beside the Internet, by comma or as a JSON list.
    Whoever may make webhooks can then have requests sent to every host in them."""
    send_body_max_bytes: Bytes = 40 * 1024 * 1024
    """Bytes of a request that sends a message; base64 takes a third of them."""
    send_large_at_once: Count = 2
    """Such requests of more than a mebibyte that are at hand at a time; each takes several times
    its size of memory."""
    send_message_max_bytes: Bytes = 40 * 1024 * 1024
    """Bytes of a message that is sent."""
    send_max_recipients: Count = 100
    """Recipients of a message that is sent."""
    send_messages_per_hour: Count = 10_000
    """Messages that may be sent with one key."""

    @field_validator("api_admin_key", "api_admin_key_file", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("api_admin_key")
    @classmethod
    def _key_is_strong(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _check(value.get_secret_value())
        return value

    @field_validator("api_admin_key_file")
    @classmethod
    def _file_holds_a_key(cls, value: Path | None) -> Path | None:
        if value is not None:
            _check(_read(value))
        return value

    @model_validator(mode="after")
    def _one_of_them(self) -> ApiSettings:
        if self.api_admin_key is not None and self.api_admin_key_file is not None:
            raise ValueError(
                "POSTHORN_API_ADMIN_KEY, POSTHORN_API_ADMIN_KEY_FILE: only one of them may be set"
            )
        return self

    @property
    def oidc_client(self) -> OidcClient | None:
        """How browsers sign in at the issuer; None: they do not."""
        if self.oidc_issuer is None or self.oidc_client_id is None:
            return None
        secret = self.oidc_client_secret
        return OidcClient(
            self.oidc_client_id,
            None if secret is None else secret.get_secret_value() or None,
            self.oidc_redirect_uri or f"https://{self.presence.web}/v1/login/oidc/callback",
            self.oidc_name,
            session_seconds=self.oidc_session_seconds,
        )

    @property
    def rate_limit(self) -> RateLimit:
        """What keys may ask for."""
        return RateLimit(
            self.api_requests_per_minute,
            self.api_requests_burst,
            self.api_unknown_keys_per_minute,
            tenant_share=self.api_tenant_share,
        )

    @property
    def http_limits(self) -> HttpLimits:
        """What clients of the listener may do."""
        return HttpLimits(
            header_seconds=self.api_header_seconds,
            connections=self.api_connections,
            connections_each=self.api_connections_per_client,
            proxies=self.api_proxy_networks,
        )

    @property
    def sending_limits(self) -> SendingLimits:
        """What bounds a message that is sent."""
        return SendingLimits(
            self.smtp_hostname,
            self.send_message_max_bytes,
            self.send_max_recipients,
            self.send_messages_per_hour,
            self.smtp_inline_bytes,
            self.account_limits,
            self.smtp_postmaster,
        )

    @property
    def postmasters(self) -> Postmasters:
        """Who takes the mail for postmasters that have no address of their own."""
        return Postmasters(self.smtp_postmaster, self.smtp_hostname)

    @property
    def admin_key(self) -> str | None:
        """The key, from wherever it comes."""
        if self.api_admin_key_file is not None:
            return _read(self.api_admin_key_file)
        return None if self.api_admin_key is None else self.api_admin_key.get_secret_value()


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the file cannot be read: {type(error).__name__}") from None


def _check(key: str) -> None:
    if len(key) < SHORTEST_KEY:
        raise ValueError(f"the key must have at least {SHORTEST_KEY} characters")
    if not all("!" <= character <= "~" for character in key):
        raise ValueError("the key must be of visible ASCII characters, without spaces")
