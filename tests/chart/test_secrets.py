"""Generated secrets: strong, of the form that their readers want, and the same after every
upgrade."""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from posthorn.runtime.derived_keys import SRS, derive
from tests.chart.cluster import Cluster
from tests.chart.rendering import Rendered, at, case, render


def texts(rendered: Rendered) -> dict[str, dict[str, str]]:
    return {
        name: secret.get("stringData", {}) | secret.get("data", {})
        for name, secret in rendered.by_kind("Secret").items()
    }


def test_secrets_stay_as_they_are_over_upgrades(cluster: Cluster) -> None:
    first = cluster.render(upgrade=False)
    assert len(texts(first)) == 7 + 8 + 6  # and a login for each part on NATS and Postgres
    cluster.keep(first)
    assert texts(cluster.render()) == texts(first)
    cluster.secrets.clear()  # the look-up is what does it
    again = texts(cluster.render(upgrade=False))
    assert not [name for name, secret in texts(first).items() if again[name] == secret]


def test_a_secret_that_somebody_put_there_is_taken(cluster: Cluster) -> None:
    cluster.keep(cluster.render(upgrade=False))
    cluster.secrets["posthorn-postgresql"]["data"]["password"] = base64.b64encode(
        b"restored"
    ).decode()
    assert texts(cluster.render())["posthorn-postgresql"] == {
        "password": "restored",
        "url": "postgresql://posthorn:restored@posthorn-postgresql:5432/posthorn",
    }


def test_an_upgrade_from_a_release_without_logins_of_parts_keeps_what_was_there(
    cluster: Cluster,
) -> None:
    before = cluster.render(upgrade=False)
    cluster.keep(before)
    for name in [
        name for name in cluster.secrets if re.search("-(srs-key|nats-.+|postgresql-.+)$", name)
    ]:
        del cluster.secrets[name]
    after = texts(cluster.render())
    assert {name: after[name] for name in cluster.secrets} == {
        name: texts(before)[name] for name in cluster.secrets
    }
    assert after["posthorn-srs-key"] == texts(before)["posthorn-srs-key"]


def test_the_doors_get_the_derived_key_of_every_master_key(cluster: Cluster) -> None:
    masters = [os.urandom(32) for _ in range(3)]
    listed = ", ".join(base64.b64encode(key).decode() for key in masters)
    data = {"key": base64.b64encode(listed.encode()).decode()}
    cluster.secrets["mine"] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "mine"},
        "data": data,
    }
    rendered = cluster.render(
        {"secretKey": {"existingSecret": "mine", "key": "key"}}, upgrade=False
    )
    expected = ",".join(base64.b64encode(derive(key, SRS)).decode() for key in masters)
    assert texts(rendered)["posthorn-srs-key"] == {"srs-key": expected}
    assert "posthorn-secret-key" not in rendered.by_kind("Secret")


def test_no_door_sees_the_master_key_or_anothers_login() -> None:
    rendered = case("default")
    for name, _, spec in rendered.pods():
        references = {
            item["valueFrom"]["secretKeyRef"]["name"]
            for container in spec["containers"] + spec.get("initContainers", [])
            for item in container.get("env", [])
            if "secretKeyRef" in item.get("valueFrom", {})
        }
        part = name.removeprefix("Deployment/posthorn-")
        if part in ("smtp-in", "submission", "pop3", "imap"):
            assert (
                not {
                    "posthorn-secret-key",
                    "posthorn-nats",
                    "posthorn-postgresql",
                    "posthorn-admin-key",
                }
                & references
            )
        if part == "smtp-in":
            assert references == {"posthorn-srs-key", "posthorn-nats-smtp-in", "posthorn-s3"}
        if name.startswith("Deployment/"):
            others = {each for each in references if re.match("posthorn-(nats|postgresql)-", each)}
            assert others <= {f"posthorn-nats-{part}", f"posthorn-postgresql-{part}"}, name


def test_without_a_cluster_nothing_is_generated_unless_told() -> None:
    with pytest.raises(Exception, match=r"secretKey\.existingSecret: name a Secret") as refused:
        render({"secrets": {"generate": "auto"}})
    for path in ("api.adminKey", "postgresql.bundled", "nats.bundled", "s3.bundled", "tls"):
        assert f"{path}.existingSecret: name a Secret" in str(refused.value)


def test_with_argo_cd_nothing_is_generated_though_it_tells_what_its_cluster_serves(
    cluster: Cluster,
) -> None:
    annotated = {"migrations": {"annotations": {"argocd.argoproj.io/hook": "Sync"}}}
    with pytest.raises(Exception, match=r"secretKey\.existingSecret: name a Secret"):
        cluster.render(annotated, upgrade=False)
    with pytest.raises(Exception, match=r"secretKey\.existingSecret: name a Secret"):
        cluster.render(at("secrets.generate", "never"), upgrade=False)


def test_a_key_that_cannot_be_looked_up_needs_its_derived_key_beside_it() -> None:
    with pytest.raises(Exception, match=r"secretKey\.srsKey: name the key in mine"):
        render(at("secretKey.existingSecret", "mine"))
    rendered = render({"secretKey": {"existingSecret": "mine", "srsKey": "srs"}})
    assert "posthorn-srs-key" not in rendered.by_kind("Secret")
    assert '{"name": "mine", "key": "srs"}' in json.dumps(rendered.objects)


def test_an_upgrade_that_lost_its_master_key_is_refused(cluster: Cluster) -> None:
    with pytest.raises(Exception, match="the Secret posthorn-secret-key is gone"):
        cluster.render()
    assert cluster.render(at("secrets.generate", "always")).by_kind("Secret")


def test_secrets_outlive_the_release() -> None:
    for name, secret in case("default").by_kind("Secret").items():
        assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", name


def test_generated_secrets_have_the_form_that_their_readers_want() -> None:
    found = texts(case("default"))
    assert len(base64.b64decode(found["posthorn-secret-key"]["secret-key"], validate=True)) == 32
    assert re.fullmatch(r"ph_[A-Za-z0-9]{43}", found["posthorn-admin-key"]["admin-key"])
    # goes into a URL as it is
    assert re.fullmatch(r"[A-Za-z0-9]{32}", found["posthorn-postgresql"]["password"])
    # no number for nats-server
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]{31}", found["posthorn-nats"]["password"])
    assert re.fullmatch(r"GK[0-9a-f]{24}", found["posthorn-s3"]["access-key"])
    assert re.fullmatch(r"[0-9a-f]{64}", found["posthorn-s3"]["secret-key"])
    assert re.fullmatch(r"[0-9a-f]{64}", found["posthorn-s3"]["rpc-secret"])
    assert len(set(found["posthorn-s3"].values())) == 3


def test_the_self_signed_certificate_is_for_the_host_name(tmp_path: Path) -> None:
    data = render({"hostname": "mx.example.net"}).by_kind("Secret")["posthorn-tls"]["data"]
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_bytes(base64.b64decode(data[name]))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    certificate = x509.load_pem_x509_certificate((tmp_path / "tls.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mx.example.net"]


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        ("api.adminKey.existingSecret", "posthorn-admin-key"),
        ("postgresql.bundled.existingSecret", "posthorn-postgresql"),
        ("nats.bundled.existingSecret", "posthorn-nats"),
        ("s3.bundled.existingSecret", "posthorn-s3"),
        ("tls.existingSecret", "posthorn-tls"),
    ],
)
def test_each_generated_secret_can_be_ones_own(path: str, secret: str) -> None:
    rendered = render(at(path, "mine"))
    assert secret not in rendered.by_kind("Secret")
    assert not [
        name
        for name in rendered.by_kind("Secret")
        if name.startswith(f"{secret}-") and "bundled" in path
    ]
    text = json.dumps([found for found in rendered.objects if found["kind"] != "Secret"])
    assert '"mine"' in text
    assert f'"{secret}", "key"' not in text
    assert f'"secretName": "{secret}"' not in text


def test_a_url_in_the_values_goes_into_a_secret_and_a_change_restarts_pods() -> None:
    def values(url: str) -> dict[str, Any]:
        return {"postgresql": {"url": url, "bundled": {"enabled": False}}}

    one, two = (
        render(values(f"postgresql://mail:{word}@db.example.org/mail")) for word in ("aaa", "bbb")
    )
    assert one.by_kind("Secret")["posthorn-postgresql"]["stringData"] == {
        "url": "postgresql://mail:aaa@db.example.org/mail"
    }
    sums = [
        rendered.by_kind("Deployment")["posthorn-api"]["spec"]["template"]["metadata"][
            "annotations"
        ]["checksum/urls"]
        for rendered in (one, two)
    ]
    assert sums[0] != sums[1]
