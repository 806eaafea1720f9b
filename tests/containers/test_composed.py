"""docker-compose.yml as a person uses it: mail in, mail out, its secrets, its locks, its
certificate."""

from __future__ import annotations

import socket
import ssl
import stat
import subprocess
from contextlib import ExitStack
from email.message import EmailMessage

import pytest

from tests.containers.composed import PARTS, STORES, ComposedSystem
from tests.containers.docker import ROOT, Docker, DockerError
from tests.support.maildrop import Maildrop
from tests.support.system import await_that

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

_MESSAGE = (
    b"From: Some One <some.one@example.org>\r\nTo: a reader\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\n"
    b".a line with a dot\r\n..two\r\n\r\nand octets: \xc3\xa9\xff\r\n.\x20\r\n"
)


def test_a_message_in_is_read_with_the_same_octets(system: ComposedSystem, drop: Maildrop) -> None:
    system.send(_MESSAGE, drop.address)
    (found,) = drop.await_mail(1)
    assert found.endswith(_MESSAGE), "what was sent follows the trace fields, unchanged"
    head = found[: -len(_MESSAGE)].decode()
    assert head.startswith("Return-Path: <sender@example.org>\r\n")
    assert "by mail.example.test" in head


def test_a_message_over_the_inline_size_goes_by_the_store_and_the_spool(
    system: ComposedSystem, drop: Maildrop
) -> None:
    large = b"Subject: large\r\n\r\n" + b"".join(b"%098d\r\n" % line for line in range(20_000))
    system.send(large, drop.address)
    (found,) = drop.await_mail(1)
    assert found.endswith(large)


def test_a_message_out_goes_by_its_route_to_another_server(
    system: ComposedSystem, drop: Maildrop
) -> None:
    answer = system.api.post(
        "/v1/routes", json={"domain": "sink.test", "host": "sink", "port": 2525, "tls": "none"}
    )
    assert answer.status_code == 201, answer.text
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = drop.address, "reader@sink.test", "out"
    message.set_content("Dear reader,\n.\nyours\n")
    system.submit(drop, message)
    (taken,) = await_that("the message is taken", system.sunk, timeout=30, pause=0.3)
    assert taken["from"] == drop.address and taken["to"] == ["reader@sink.test"]
    assert b"\r\n\r\nDear reader,\r\n.\r\nyours\r\n" in taken["content"]


def test_a_renewed_certificate_is_shown_without_a_restart(system: ComposedSystem) -> None:
    ports = [system.ports[name] for name in ("POP3S", "IMAPS", "SUBMISSIONS")]
    before = [_certificate(port) for port in ports]
    lives = [
        system.docker.seen(one)["State"]["StartedAt"]
        for part in PARTS
        for one in system.containers(part)
    ]
    for name in ("tls.crt", "tls.key"):
        (system.tls / name).unlink()
    subprocess.run(
        [system.folder / "deploy/compose/init.sh", "mail.example.test"],
        check=True,
        capture_output=True,
    )
    new = ssl.PEM_cert_to_DER_cert((system.tls / "tls.crt").read_text())
    assert new not in before
    await_that(
        "the new one is shown",
        lambda: all(_certificate(port) == new for port in ports),
        timeout=30,
        pause=0.3,
    )
    assert lives == [
        system.docker.seen(one)["State"]["StartedAt"]
        for part in PARTS
        for one in system.containers(part)
    ]


def _certificate(port: int) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain) as secured,
    ):
        found = secured.getpeercert(binary_form=True)
        assert found
        return found


def test_every_container_is_locked_down_and_bounded(system: ComposedSystem) -> None:
    for part in (*PARTS, *STORES):
        for container in system.containers(part):
            seen = system.docker.seen(container)
            host = seen["HostConfig"]
            assert host["ReadonlyRootfs"], part
            assert host["CapDrop"] == ["ALL"] and not host["CapAdd"], part
            assert "no-new-privileges:true" in host["SecurityOpt"], part
            assert host["Memory"] > 0, part
            assert host["LogConfig"]["Config"]["max-size"], part
            assert host["RestartPolicy"]["Name"] == "unless-stopped", part
            bound = [
                one["HostIp"] for found in (host["PortBindings"] or {}).values() for one in found
            ]
            assert all(address == "127.0.0.1" for address in bound), part
            if part in STORES:
                assert not bound, part


def test_smtp_in_runs_three_times_and_the_balancer_uses_each(system: ComposedSystem) -> None:
    containers = system.containers("smtp-in")
    assert len(containers) == 3
    with ExitStack() as stack:
        for _ in range(6):
            assert stack.enter_context(system.smtp()).ehlo()[0] == 250
        open_sessions = [_sessions(system, container) for container in containers]
    assert all(count >= 1 for count in open_sessions) and sum(open_sessions) >= 6


_SEND = """
import smtplib
with smtplib.SMTP("balancer", 2525, timeout=20) as client:
    client.sendmail("sender@example.org", ["{to}"], b"Subject: from afar\\r\\n\\r\\ntext\\r\\n")
"""
_CLAIM = """
import socket
with socket.create_connection(("smtp-in", 3525), 20) as client:
    client.sendall({claim!r})
    print("heard", client.recv(100))
"""


def test_behind_the_balancer_each_client_is_seen_by_its_own_address(
    system: ComposedSystem, drop: Maildrop
) -> None:
    (client,) = system.containers("sink")  # any container that is not on the balancer's own network
    system.told(client, _SEND.format(to=drop.address))
    (found,) = drop.await_mail(1)
    assert f"([{system.address(client, 'outside')}])".encode() in found
    (balancer,) = system.containers("balancer")
    for network in ("balancers", "outside"):
        assert system.address(balancer, network).encode() not in found


@pytest.mark.parametrize(
    "claim", [b"PROXY TCP4 192.0.2.7 192.0.2.8 40000 25\r\n", b"EHLO client.example\r\n"]
)
def test_from_elsewhere_than_the_balancers_network_no_header_is_heard(
    system: ComposedSystem, claim: bytes
) -> None:
    (client,) = system.containers("sink")
    try:
        heard = system.told(client, _CLAIM.format(claim=claim))
    except DockerError as error:
        assert "ConnectionResetError" in str(error) or "BrokenPipeError" in str(error)
    else:
        assert heard == "heard b''"


def _sessions(system: ComposedSystem, container: str) -> float:
    look = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9100/metrics').read().decode())"
    metrics = system.docker.said("exec", container, "python", "-c", look)
    return next(
        float(line.split()[1])
        for line in metrics.splitlines()
        if line.startswith("posthorn_smtp_in_sessions ")
    )


def test_compose_refuses_without_secrets_and_says_what_to_do(
    docker: Docker, images: dict[str, str]
) -> None:
    refused = docker.tried(
        "compose", "--env-file", "/dev/null", "-f", str(ROOT / "docker-compose.yml"), "config"
    )
    assert refused.returncode != 0
    assert "is missing a value: run deploy/compose/init.sh first" in refused.stderr


def test_init_makes_private_random_secrets_and_touches_nothing_that_is_there(
    system: ComposedSystem,
) -> None:
    secrets = system.folder / ".env"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert stat.S_IMODE((system.folder / "deploy/compose/private").stat().st_mode) == 0o700
    before = secrets.read_bytes(), (system.tls / "tls.key").read_bytes()
    subprocess.run(
        [system.folder / "deploy/compose/init.sh", "other.example"], check=True, capture_output=True
    )
    assert before == (secrets.read_bytes(), (system.tls / "tls.key").read_bytes())
    values = [
        line.partition("=")[2] for line in secrets.read_text().splitlines() if line[:1].isalpha()
    ]
    assert all(len(value) >= 16 for value in values[1:])
    assert len(set(values)) == len(values)


def test_init_refuses_a_name_that_is_none(system: ComposedSystem) -> None:
    done = subprocess.run(
        [system.folder / "deploy/compose/init.sh", "a b; rm"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "not a host name" in done.stderr
