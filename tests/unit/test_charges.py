"""What a message is charged, by whichever door it comes."""

from __future__ import annotations

from posthorn.ports.sending import Charge, Limits, RateLimitSubject, most_recipients, sent_message

ALICE = RateLimitSubject("account", "alice@example.test", Limits(10, 50))
DOMAIN = RateLimitSubject("domain", "example.test", Limits(None, 20))
FREE = RateLimitSubject("domain", "free.test", Limits())
TENANT = RateLimitSubject("tenant", "0190", Limits(100, 15))


def test_each_payer_is_charged_for_what_it_has_a_limit_of() -> None:
    assert sent_message([ALICE, DOMAIN, FREE, TENANT], 3) == [
        Charge("messages-account:alice@example.test", 10, 3600, 1),
        Charge("recipients-account:alice@example.test", 50, 3600, 3),
        Charge("recipients-domain:example.test", 20, 3600, 3),
        Charge("messages-tenant:0190", 100, 3600, 1),
        Charge("recipients-tenant:0190", 15, 3600, 3),
    ]


def test_a_message_has_no_more_recipients_than_any_payer_may_have_in_an_hour() -> None:
    assert most_recipients([ALICE, DOMAIN, FREE]) == (20, "example.test")
    assert most_recipients([ALICE, TENANT, DOMAIN]) == (15, "the tenant"), (
        "nobody knows it by its id"
    )
    assert most_recipients([FREE]) is None
    assert most_recipients(
        [RateLimitSubject("account", "mute@example.test", Limits(None, 0)), DOMAIN]
    ) == (
        0,
        "mute@example.test",
    )


def test_general_limits_stand_where_own_ones_say_nothing() -> None:
    assert Limits(None, 0).within(Limits(7, 9)) == Limits(7, 0)
    assert Limits().within(Limits()) == Limits()
