"""Domains, accounts and aliases from the files of other servers: what is taken, what is not and
why; hostile files fail cleanly."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from posthorn_cli.app import app
from posthorn_cli.faults import CommandError
from posthorn_cli.moving.directory import SourceDirectory
from posthorn_cli.moving.sources import (
    read_docker_mailserver,
    read_domains,
    read_mailboxes,
    read_mailcow,
    read_mailu,
    read_passwd_file,
    read_postfixadmin,
    read_virtual,
    size_in,
)
from posthorn_cli.moving.sql_dump import read_dump

SHA512 = "{SHA512-CRYPT}$6$saltstring$" + "x" * 86
BCRYPT = "{BLF-CRYPT}$2y$10$mMKoQILqWImB4apBUo1Pr.cG.8FbphDqU5zfXUbeNtfa9HM7Zrkoq"
MD5 = "3cb4e732631f47e6eb961f34554b7cde"


def skipped(found: SourceDirectory) -> set[tuple[str, str]]:
    return {(each.kind, each.name) for each in found.not_taken}


def hashes(found: SourceDirectory) -> dict[str, str | None]:
    return {name: account.get("password_hash") for name, account in found.accounts.items()}


def test_postfix_maps_and_a_passwd_file() -> None:
    found = SourceDirectory()
    read_domains(found, "old.test, other.test\nthird.test OK\n")
    read_passwd_file(
        found,
        "# users\n"
        f"Erin@Old.test:{SHA512}:5000:5000::/var/vmail/erin::userdb_quota_rule=*:storage=2G\n"
        f"frank@old.test:{MD5}:5000:5000::/home:/bin/false:userdb_quota_rule=*:storage=1024\n"
        "gina@old.test:{PLAIN}secret\n"
        "root:x:0:0\n"
        "broken\n",
    )
    read_mailboxes(found, "erin@old.test old.test/erin/\nheidi@old.test heidi/\n@old.test all/\n")
    read_virtual(
        found,
        "# aliases\n"
        "info@old.test\terin@old.test\n"
        "team@old.test erin@old.test,\n   frank@old.test, elsewhere@example.org\n"
        "@old.test erin@old.test\n"
        "@other.test @old.test\n"
        "virtual.test anything\n"
        "iffy.test anything\n"
        "erin@old.test erin@old.test, copy@example.org\n"
        "pipe@old.test |/usr/bin/procmail\n"
        "root erin@old.test\n"
        "/^sales-.*@old.test$/ erin@old.test\n",
    )
    found.finish()
    assert set(found.domains) == {
        "old.test", "other.test", "third.test", "virtual.test", "iffy.test",
    }  # fmt: skip
    assert found.domains["old.test"]["catch_all"] == "erin@old.test"
    assert hashes(found) == {
        "erin@old.test": SHA512,
        "frank@old.test": None,
        "gina@old.test": None,
        "heidi@old.test": None,
    }
    assert found.accounts["erin@old.test"]["quota_bytes"] == 2 * 1024**3
    assert found.accounts["frank@old.test"]["quota_bytes"] == 1024**2
    assert found.aliases == {
        "info@old.test": ["erin@old.test"],
        "team@old.test": ["erin@old.test", "frank@old.test", "elsewhere@example.org"],
    }
    assert skipped(found) == {
        ("account", "@old.test"),
        ("account", "broken"),
        ("account", "root"),
        ("alias", "/^sales-.*@old.test$/"),
        ("alias", "pipe@old.test"),
        ("alias", "root"),
        ("domain alias", "@other.test"),
        ("forward", "erin@old.test"),
        ("password", "frank@old.test"),
        ("password", "gina@old.test"),
        ("password", "heidi@old.test"),
    }
    assert found.hashes == {"sha512-crypt": 1, "no password": 3}
    assert "secret" not in repr(found.not_taken)
    weak = SourceDirectory(allow_weak=True)
    read_passwd_file(weak, f"frank@old.test:{MD5}::::::\n")
    assert hashes(weak) == {"frank@old.test": "{PLAIN-MD5}" + MD5}


POSTFIXADMIN_MYSQL = rf"""-- MySQL dump 10.13
/*!40101 SET NAMES utf8 */;
CREATE TABLE `mailbox` (
  `username` varchar(255) NOT NULL DEFAULT 'x',
  `password` varchar(255) NOT NULL,
  `name` varchar(255) DEFAULT 'it''s (odd), really',
  `quota` bigint(20) NOT NULL DEFAULT 0,
  `domain` varchar(255) NOT NULL,
  `active` tinyint(1) NOT NULL DEFAULT 1,
  PRIMARY KEY (`username`),
  KEY `domain` (`domain`)
) ENGINE=InnoDB COMMENT='Postfix Admin - Virtual Mailboxes';
INSERT INTO `mailbox` VALUES
 ('erin@old.test','{SHA512}','O\'Neil\n; INSERT INTO `mailbox` VALUES (1);',1048576000,'old.test',1),
 ('frank@old.test','$1$saltstri$CVtlMpOHug1.jDUbVpFvB1','\\',0,'old.test',0);
INSERT INTO `domain` (`domain`, `description`, `mailboxes`, `backupmx`, `active`) VALUES
 ('ALL','',0,0,1),
 ('old.test',_binary 'd',10,0,1),
 ('gone.test','',-1,0,0);
INSERT INTO `alias` (`address`,`goto`,`domain`,`active`) VALUES
 ('erin@old.test','erin@old.test','old.test',1),
 ('frank@old.test','frank@old.test,frank#old.test@autoreply.old.test','old.test',1),
 ('info@old.test','erin@old.test,x@example.org','old.test',1),
 ('off@old.test','erin@old.test','old.test',0),
 ('@old.test','info@old.test','old.test',1);
INSERT INTO `alias_domain` (`alias_domain`,`target_domain`,`active`) VALUES ('alt.test','old.test',1);
DELIMITER ;;
/*!50003 CREATE TRIGGER x BEFORE INSERT ON alias FOR EACH ROW BEGIN SET @a = ';'; END */;;
DELIMITER ;
"""

POSTFIXADMIN_POSTGRES = rf"""--
-- PostgreSQL database dump
--
\restrict kJh8
SET standard_conforming_strings = on;
CREATE FUNCTION public.merge_quota() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO mailbox VALUES ('evil@old.test'); END; $$;
CREATE TABLE public.mailbox (
    username character varying(255) NOT NULL,
    password character varying(255) DEFAULT ''::character varying NOT NULL
);
COPY public.mailbox (username, password, name, quota, active, domain) FROM stdin;
erin@old.test	{SHA512}	O'Neil\tthe\\first	1048576000	t	old.test
frank@old.test	$1$saltstri$CVtlMpOHug1.jDUbVpFvB1	\N	0	f	old.test
\.
COPY public.domain (domain, description, mailboxes, backupmx, active) FROM stdin;
ALL		0	f	t
old.test	d	10	f	t
gone.test		-1	f	f
\.
INSERT INTO public.alias (address, goto, domain, active) VALUES ('erin@old.test', 'erin@old.test', 'old.test', true);
INSERT INTO public.alias (address, goto, domain, active)
 VALUES ('frank@old.test', 'frank@old.test,frank#old.test@autoreply.old.test', 'C:\', true);
INSERT INTO public.alias (address, goto, domain, active) VALUES ('info@old.test', 'erin@old.test,x@example.org', 'old.test', true);
INSERT INTO public.alias (address, goto, domain, active) VALUES ('off@old.test', E'erin@old\x2etest\'', 'old.test', false);
INSERT INTO public.alias (address, goto, domain, active) VALUES ('@old.test', 'info@old.test', 'old.test', true);
COPY public.alias_domain (alias_domain, target_domain, active) FROM stdin;
alt.test	old.test	t
\.
\unrestrict kJh8
"""


@pytest.mark.parametrize("dump", [POSTFIXADMIN_MYSQL, POSTFIXADMIN_POSTGRES])
def test_postfixadmin_of_mysql_and_of_postgres_say_the_same(dump: str) -> None:
    found = SourceDirectory()
    read_postfixadmin(found, dump.encode())
    found.finish()
    assert found.document() == {
        "domains": [
            {"name": "old.test", "max_accounts": 10, "catch_all": "info@old.test"},
            {"name": "gone.test"},
        ],
        "accounts": [
            {"address": "erin@old.test", "quota_bytes": 1048576000, "password_hash": SHA512},
            {"address": "frank@old.test", "state": "suspended"},
        ],
        "aliases": [{"address": "info@old.test", "targets": ["erin@old.test", "x@example.org"]}],
    }
    assert skipped(found) == {
        ("domain", "gone.test"),
        ("password", "frank@old.test"),
        ("vacation", "frank@old.test"),
        ("alias", "off@old.test"),
        ("domain alias", "alt.test"),
    }


def test_a_text_in_a_dump_is_never_a_statement() -> None:
    (row, other) = read_dump(POSTFIXADMIN_MYSQL.encode(), ["mailbox"])["mailbox"]
    assert row["name"] == "O'Neil\n; INSERT INTO `mailbox` VALUES (1);"
    assert other["name"] == "\\"
    copied = read_dump(POSTFIXADMIN_POSTGRES.encode(), ["mailbox"])["mailbox"]
    assert [each["name"] for each in copied] == ["O'Neil\tthe\\first", None]
    assert "evil@old.test" not in [each["username"] for each in copied]


MAILCOW = f"""
INSERT INTO `domain` (`domain`,`mailboxes`,`backupmx`,`active`) VALUES ('old.test',10,0,1),('relayed.test',0,1,1);
INSERT INTO `mailbox` (`username`,`password`,`quota`,`kind`,`authsource`,`active`) VALUES
 ('erin@old.test','{BCRYPT}',5368709120,'','mailcow',1),
 ('room@old.test','',0,'location','mailcow',1),
 ('ldap@old.test','x',0,'','ldap',1),
 ('nologin@old.test','{BCRYPT}',0,'','mailcow',2);
INSERT INTO `alias` (`address`,`goto`,`active`) VALUES ('erin@old.test','erin@old.test',1),
 ('null@old.test','null@localhost',1),('info@old.test','erin@old.test,ldap@old.test',1),('@old.test','erin@old.test',1);
INSERT INTO `app_passwd` (`id`,`mailbox`,`password`) VALUES (1,'erin@old.test','{BCRYPT}');
INSERT INTO `alias_domain` (`alias_domain`,`target_domain`) VALUES ('alt.test','old.test');
INSERT INTO `spamalias` (`address`,`goto`,`validity`) VALUES ('tmp@old.test','erin@old.test',1);
"""


def test_mailcow() -> None:
    found = SourceDirectory()
    read_mailcow(found, MAILCOW.encode())
    found.finish()
    assert found.document() == {
        "domains": [{"name": "old.test", "max_accounts": 10, "catch_all": "erin@old.test"}],
        "accounts": [
            {"address": "erin@old.test", "quota_bytes": 5368709120, "password_hash": BCRYPT},
            {"address": "ldap@old.test"},
            {"address": "nologin@old.test"},
        ],
        "aliases": [{"address": "info@old.test", "targets": ["erin@old.test", "ldap@old.test"]}],
    }
    assert skipped(found) == {
        ("account", "room@old.test"),
        ("alias", "null@old.test"),
        ("alias", "tmp@old.test"),
        ("app password", "erin@old.test"),
        ("domain", "relayed.test"),
        ("domain alias", "alt.test"),
        ("password", "ldap@old.test"),
        ("password", "nologin@old.test"),
    }


MAILU = """
domain:
  - name: old.test
    max_users: 10
    alternatives: [alt.test]
user:
  - email: erin@old.test
    password: $bcrypt-sha256$v=2,t=2b,r=12$6nLn55Mhycvx5Pni4ezBre$BrpLMTddSVsbMm8a6HWGWzOGQDc8hq2
    quota_bytes: 1000000000
    forward_enabled: true
    forward_destination: [x@example.org]
  - email: frank@old.test
    password: <hidden>
    enabled: false
    reply_enabled: true
alias:
  - email: support@old.test
    destination: [erin@old.test]
  - email: "%@old.test"
    wildcard: true
    destination: [erin@old.test]
  - email: "sales-%@old.test"
    wildcard: true
    destination: erin@old.test
relay:
  - name: relayed.test
    smtp: 10.0.0.1
"""


def test_mailu() -> None:
    found = SourceDirectory()
    read_mailu(found, MAILU.encode())
    found.finish()
    assert found.domains == {
        "old.test": {"name": "old.test", "max_accounts": 10, "catch_all": "erin@old.test"}
    }
    assert found.hashes == {"bcrypt-sha256": 1, "no password": 1}
    assert found.accounts["frank@old.test"] == {"address": "frank@old.test", "state": "suspended"}
    assert found.aliases == {"support@old.test": ["erin@old.test"]}
    assert skipped(found) == {
        ("alias", "sales-%@old.test"),
        ("domain alias", "alt.test"),
        ("forward", "erin@old.test"),
        ("password", "frank@old.test"),
        ("relay", "relayed.test"),
        ("vacation", "frank@old.test"),
    }


def test_docker_mailserver() -> None:
    found = SourceDirectory(frozenset({"old.test"}))
    files = {
        "postfix-accounts.cf": f"erin@old.test|{SHA512}|\n# no\nx@unwanted.test|{SHA512}\n",
        "dovecot-quotas.cf": "erin@old.test:5G\n",
        "postfix-virtual.cf": "info@old.test erin@old.test\nx@unwanted.test x@old.test\n",
        "postfix-regexp.cf": "/^test[0-9]@old.test/ erin@old.test\n",
    }
    read_docker_mailserver(found, files)
    found.finish()
    assert found.document() == {
        "domains": [{"name": "old.test"}],
        "accounts": [
            {"address": "erin@old.test", "quota_bytes": 5 * 1024**3, "password_hash": SHA512}
        ],
        "aliases": [{"address": "info@old.test", "targets": ["erin@old.test"]}],
    }
    assert skipped(found) == {("postfix-regexp.cf", "/^test[0-9]@old.test/")}


def test_sizes() -> None:
    assert [size_in(text) for text in ("5G", "10 MB", "7", "1k", "", "x", "-1G")] == [
        5 * 1024**3, 10 * 1024**2, 7, 1024, None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("read", "content", "said"),
    [
        (read_mailcow, b"INSERT INTO `mailbox` (`a`) VALUES ('x", "line 1: this is no dump"),
        (read_mailcow, b"INSERT INTO `mailbox` (`a`) VALUES ('x','y');", "2 values"),
        (read_mailcow, b"PK\x03\x04 not a dump", "none of the tables"),
        (read_postfixadmin, b"\nCOPY public.other (a) FROM stdin;\nx\n", "none of the tables"),
        (read_mailu, b"\xff\xfe", "no UTF-8"),
        (read_mailu, b"!!python/object/apply:os.system ['true']", "no YAML"),
        (read_mailu, b"[" * 5000, "no YAML"),
        (read_mailu, b"- a\n- b\n", "neither domain, user nor alias"),
        (read_mailu, b"user: [1]\n", "user of the export"),
    ],
)
def test_files_that_are_something_else_are_refused(read: Any, content: bytes, said: str) -> None:
    with pytest.raises(CommandError, match=said):
        read(SourceDirectory(), content)


_HOSTILE = st.text(
    alphabet=st.sampled_from(
        "ab@.|:{}$'\"`\\(),; \n\t#%-\x00\x1b/*COPYINSERTVALUESfrommailboxstdin"
    ),
    max_size=300,
)


@given(_HOSTILE)
def test_no_text_makes_a_reader_fail_otherwise(text: str) -> None:
    content = text.encode()
    for read in (read_mailcow, read_postfixadmin, read_mailu):
        try:
            read(SourceDirectory(), b"INSERT INTO mailbox (a) VALUES (1);" + content)
        except CommandError as error:
            assert str(error)
    found = SourceDirectory(allow_weak=True)
    for reader in (read_virtual, read_mailboxes, read_domains, read_passwd_file):
        reader(found, text)
    read_docker_mailserver(found, {"postfix-accounts.cf": text, "dovecot-quotas.cf": text})
    found.finish()
    for name in (*found.accounts, *found.aliases):
        assert name.isprintable()
        assert name.count("@") == 1


def test_the_plan_is_for_its_owner_alone_and_says_what_is_in_it(tmp_path: Path) -> None:
    source, plan = tmp_path / "mailu.yaml", tmp_path / "plan.json"
    source.write_text(MAILU)
    plan.write_text("before")
    plan.chmod(0o644)
    line = ["import-from", "mailu", str(source), "--output", str(plan)]
    ran = CliRunner().invoke(app, line)
    assert ran.exit_code == 0, ran.output
    assert "accounts with bcrypt-sha256\t1" in ran.output
    assert "forward\terin@old.test\tthe mailbox forwards to x@example.org" in ran.output
    assert "6nLn55" not in ran.output
    assert stat.S_IMODE(plan.stat().st_mode) == 0o600
    assert set(json.loads(plan.read_text())) == {"domains", "accounts", "aliases"}
    shown = json.loads(CliRunner().invoke(app, [*line, "--json"]).stdout)
    assert (shown["accounts"], len(shown["not_taken"])) == (2, 6)
    link = tmp_path / "link"
    link.symlink_to(plan)
    assert CliRunner().invoke(app, [*line[:-1], str(link)]).exit_code != 0
    nothing = CliRunner().invoke(app, ["import-from", "postfix"])
    assert "at least one of --virtual" in str(nothing.exception)
