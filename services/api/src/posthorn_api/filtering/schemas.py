"""The JSON shapes of filter policies."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import Field

from posthorn.model.filter_policy import FIELDS, LISTS, MOST_ENTRIES
from posthorn.ports.filter_policies import EffectivePolicy, StoredPolicy
from posthorn_api.http.schemas import ApiModel, Line, RequestBody

SpamAction = Literal["mark", "junk", "quarantine"]
VirusAction = Literal["refuse", "quarantine"]
Source = Literal["default", "system", "tenant", "domain", "account"]
Score = Annotated[float, Field(ge=1, le=1000)]
Entries = Annotated[list[Line], Field(max_length=MOST_ENTRIES)]

_JUNK = "Points from which `spam_action` applies; by default 6."
_REFUSE = "Points from which a message is refused; by default 15."
_SPAM = (
    "What happens to messages from `junk_score`: `mark` delivers to INBOX with the verdict in the"
    " header, `junk` (the default) to Junk, `quarantine` withholds them."
)
_VIRUS = "What happens to messages with a virus; by default `refuse`."
_DMARC = "Whether p=reject and p=quarantine of a failed DMARC check apply; by default true."
_LISTED = "Whether clients that a blocklist of addresses holds are refused; by default false."
_GREYLIST = "Whether suspicious unknown clients are asked to try again later; by default false."
_KNOWN = (
    "Whether authenticated correspondents of the account are delivered to INBOX whatever their"
    " points; by default true."
)
_RSPAMD = "Whether rspamd judges the messages, if the installation has it; by default true."
_CLAMAV = "Whether ClamAV scans the messages, if the installation has it; by default true."
_DIGEST = "Whether the account gets a daily digest of its Junk mailbox and quarantine; by default if it is read by POP3."
_ALLOW = (
    "Senders that are not filtered but for viruses: addresses, domains (with their subdomains) or"
    " networks. An address or domain counts only for a sender that SPF or DKIM authenticates."
)
_BLOCK = "Senders that are refused: addresses, domains (with their subdomains) or networks."
_FORWARDERS = "Domains of hosts that forward mail to the recipient, such as of a former provider."


class FilterPolicyDocument(RequestBody):
    """A filter policy. A field that is null or left out is silent: the level above decides. Lists
    of all levels add up."""

    junk_score: Score | None = Field(None, description=_JUNK)
    refuse_score: Score | None = Field(None, description=_REFUSE)
    spam_action: SpamAction | None = Field(None, description=_SPAM)
    virus_action: VirusAction | None = Field(None, description=_VIRUS)
    enforce_dmarc: bool | None = Field(None, description=_DMARC)
    refuse_listed: bool | None = Field(None, description=_LISTED)
    greylist: bool | None = Field(None, description=_GREYLIST)
    protect_known: bool | None = Field(None, description=_KNOWN)
    rspamd: bool | None = Field(None, description=_RSPAMD)
    clamav: bool | None = Field(None, description=_CLAMAV)
    digest: bool | None = Field(None, description=_DIGEST)
    allow: Entries | None = Field(None, description=_ALLOW)
    block: Entries | None = Field(None, description=_BLOCK)
    forwarders: Entries | None = Field(None, description=_FORWARDERS)

    def document(self) -> dict[str, Any]:
        """Return the document, not checked yet."""
        return self.model_dump(exclude_none=True)

    @classmethod
    def of(cls, stored: StoredPolicy) -> FilterPolicyDocument:
        """Show a policy. Fields that a later release has written are left out."""
        known = {name: value for name, value in stored.document.items() if name in FIELDS}
        return cls.model_construct(**{name: known.get(name) for name in FIELDS})


class CompleteFilterPolicyView(ApiModel):
    """A filter policy with a value for each field."""

    junk_score: float
    refuse_score: float
    spam_action: SpamAction
    virus_action: VirusAction
    enforce_dmarc: bool
    refuse_listed: bool
    greylist: bool
    protect_known: bool
    rspamd: bool
    clamav: bool
    digest: bool
    allow: list[str]
    block: list[str]
    forwarders: list[str]


class PolicyOriginView(ApiModel):
    """Where the value of a field comes from."""

    field: str = Field(description="A field of the policy.")
    source: Source = Field(description="The level that decides; `default`: none says anything.")
    value: float | bool | str | list[str]


class EffectiveFilterPolicyView(ApiModel):
    """The filter policy that follows from all levels."""

    policy: CompleteFilterPolicyView
    origins: list[PolicyOriginView] = Field(
        description="One for each field; of a list, one for each level that has entries."
    )

    @classmethod
    def of(cls, effective: EffectivePolicy) -> EffectiveFilterPolicyView:
        """Show one."""
        values = {name: getattr(effective.policy, name) for name in FIELDS}
        policy = {name: list(each) if name in LISTS else each for name, each in values.items()}
        return cls(
            policy=CompleteFilterPolicyView.model_validate(policy),
            origins=[
                PolicyOriginView(
                    field=each.field, source=cast(Source, each.source), value=each.value
                )
                for each in effective.origins
            ],
        )
