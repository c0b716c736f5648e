"""What is shown of an address."""

import pytest

from notify.addresses import Address


@pytest.mark.parametrize(
    "url, shown",
    [
        ("webhook+https://user:pw123@host.example:8443/path?token=abc", "webhook+https://host.example:8443"),
        ("mqtt://user:pw123@broker/home/alerts", "mqtt://broker"),
        ("tgram://123456789:token/chat", "tgram://***"),
        ("mailto://user:pw123@example.org", "mailto://***"),
    ],
)
def test_neither_text_nor_repr_shows_a_secret(url, shown):
    assert str(Address(url)) == shown
    assert repr(Address(url)) == "Address()"


@pytest.mark.parametrize(
    "url, text, hidden",
    [
        ("webhook+https://ann:pw%40123@host.example/T0K3N/x?key=K3Y&y=1", "host.example said pw@123 pw%40123 T0K3N K3Y ann x", "host.example said *** *** *** *** *** x"),
        ("webhook+http://host/hook", "POST webhook+http://host/hook failed", "POST *** failed"),
        ("tgram://123456:ABCdef/-1001", "https://api.telegram.org/bot123456:ABCdef/send to -1001", "https://api.telegram.org/bot***/send to ***"),
        ("mqtt://broker:1883/home/alerts", "no route to broker", "no route to broker"),
    ],
)  # fmt: skip
def test_secrets_are_hidden_in_texts_of_others(url, text, hidden):
    assert Address(url).hide(text) == hidden


def test_kinds():
    assert Address("WEBHOOK+HTTP://h/").is_webhook and Address("mqtts://h/t").is_broker
    assert not Address("http://h/").is_webhook and Address("no address").scheme == ""
