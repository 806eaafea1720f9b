"""Attempts by the provider that runs the next hop, told from the name of its MX.

A destination is no label: there are as many as a sender likes. The ten largest providers are; all
other hosts are ``other``.
"""

from __future__ import annotations

from prometheus_client import Counter

from posthorn_relay.smtp.types import Accepted, Failed

_DOMAINS = {
    "google.com": "google",
    "googlemail.com": "google",
    "outlook.com": "microsoft",
    "mx.microsoft": "microsoft",
    "yahoodns.net": "yahoo",
    "icloud.com": "apple",
    "gmx.net": "united-internet",
    "web.de": "united-internet",
    "kundenserver.de": "united-internet",
    "mail.ru": "vk",
    "yandex.net": "yandex",
    "yandex.ru": "yandex",
    "qq.com": "tencent",
    "pphosted.com": "proofpoint",
    "mimecast.com": "mimecast",
}
"""Provider by the last two labels of its MX names."""
OTHER = "other"

_attempts = Counter(
    "posthorn_relay_provider_attempts_total",
    "Recipients tried, by the provider of the next hop and the class of its last reply; none: no reply",
    ["provider", "status"],
)


def provider_of(host: str) -> str:
    """Return the provider of a host's name; ``host`` may be followed by its address."""
    name = host.partition(" ")[0].rstrip(".").lower()
    return _DOMAINS.get(".".join(name.rsplit(".", 2)[-2:]), OTHER)


def count_attempt(result: Accepted | Failed) -> None:
    """Count the result of an attempt for one recipient."""
    code = 250 if isinstance(result, Accepted) else result.code
    status = f"{code // 100}xx" if 200 <= code < 600 else "none"
    _attempts.labels(provider_of(result.host), status).inc()
