"""Awkward mail comes back byte for byte."""

from __future__ import annotations

import pytest

from tests.e2e.corpus import Sample, samples
from tests.e2e.trace import split_trace
from tests.support.maildrop import Maildrop
from tests.support.system import System

SAMPLES = samples()


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_awkward_mail_comes_back_byte_for_byte(
    system: System, drop: Maildrop, sample: Sample
) -> None:
    options = ["BODY=8BITMIME", "SMTPUTF8"]
    with system.smtp(timeout=60) as client:
        client.ehlo()
        assert client.mail("sender@example.org", options)[0] == 250
        assert client.rcpt(drop.address)[0] == 250
        if sample.chunked:
            client.send(b"BDAT %d LAST\r\n" % len(sample.octets) + sample.octets)
            code, text = client.getreply()
        else:
            code, text = client.data(sample.octets)
        assert code == 250, text

    (stored,) = drop.await_mail(1, timeout=30)  # RETR gave as many octets as LIST said
    assert split_trace(stored)[2] == sample.kept
    assert system.account(drop.address)["used_bytes"] == len(stored)
    with drop.session() as reader:
        head = reader.many("TOP 1 0")
        assert head.endswith(b"\r\n\r\n") or head.count(b"\r\n\r\n") == 0
        assert stored.startswith(head.removesuffix(b"\r\n"))
    drop.empty()
