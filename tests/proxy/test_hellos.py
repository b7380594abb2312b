"""The hello of what passes unread names the host of its tunnel, whatever way it is written and cut up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.hellos import HelloRefused, Hellos
from support.hellos import RETRY, SERVER_HELLO, hello, named, real_hello, record, server_name

HOST = "pinned.test"
OTHER = "other.test"
NAME = (0, server_name(HOST.encode()))

PASSES = {
    "OpenSSL's": real_hello(HOST),
    "in capitals": named("PINNED.Test"),
    "with extensions that nobody knows": record(hello((0x1A1A, b""), NAME, (0xFF01, b"\x00"))),
    "in three records": b"".join(
        map(record, (hello(NAME)[:3], hello(NAME)[3:50], hello(NAME)[50:])),
    ),
}


def in_parts(watched: Hellos, sent: bytes, cut: int) -> tuple[bytes, str]:
    """What passed of an agent's bytes when they came in parts, and why no more did."""
    passed = b""
    try:
        for at in range(0, len(sent), cut):
            passed += watched.from_agent(sent[at : at + cut])
    except HelloRefused as refused:
        return passed, str(refused)
    return passed, ""


REFUSED = {
    "another name": (named(OTHER), 'its TLS hello names "other.test"'),
    "a subdomain": (named(f"a.{HOST}"), f'its TLS hello names "a.{HOST}"'),
    "OpenSSL's for another": (real_hello(OTHER), 'its TLS hello names "other.test"'),
    "no name": (real_hello(None), "its TLS hello names no host"),
    "no extensions": (record(hello(block=False)), "its TLS hello names no host"),
    "an empty list of names": (record(hello((0, b"\x00\x00"))), "its TLS hello is not in order"),
    "an empty name": (record(hello((0, server_name(b"")))), "its TLS hello names what is no host"),
    "two names": (
        record(hello((0, server_name(HOST.encode(), OTHER.encode())))),
        "its TLS hello does not name one host",
    ),
    "a name of another kind": (
        record(hello((0, server_name(HOST.encode(), kind=1)))),
        "its TLS hello does not name one host",
    ),
    "the extension twice": (
        record(hello(NAME, (0, server_name(OTHER.encode())))),
        "its TLS hello has an extension twice",
    ),
    "a name with a NUL": (
        record(hello((0, server_name(f"{HOST}\x00.{OTHER}".encode())))),
        "its TLS hello names what is no host",
    ),
    "a name that is not ASCII": (
        record(hello((0, server_name("pinnéd.test".encode())))),
        "its TLS hello names what is no host",
    ),
    "an encrypted hello": (
        record(hello(NAME, (0xFE0D, bytes(16)))),
        "its TLS hello is encrypted (ECH), so the name that counts cannot be seen",
    ),
    "an encrypted hello of a draft": (
        record(hello(NAME, (0xFFCE, bytes(16)))),
        "its TLS hello is encrypted (ECH), so the name that counts cannot be seen",
    ),
    "two hellos in a record": (
        record(hello(NAME) + hello((0, server_name(OTHER.encode())))),
        "something stands behind its TLS hello, in the same record",
    ),
    "bytes behind the extensions": (record(hello(NAME, behind=b"\x00")), "its TLS hello is not in order"),
    "an extension that is too short": (
        record(hello((0, server_name(HOST.encode())[:-1]))),
        "its TLS hello is not in order",
    ),
    "a record without content": (record(b""), "its TLS has a record of no allowed length"),
    "a record that is too long": (b"\x16\x03\x01\xff\xff", "its TLS has a record of no allowed length"),
    "a hello without end": (record(b"\x01\xff\xff\xff" + bytes(100)), "its TLS hello is too long to be read"),
    "plain HTTP": (b"GET / HTTP/1.1\r\n", "it does not begin with a TLS hello"),
    "HTTP/2 by prior knowledge": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "it does not begin with a TLS hello"),
    "SSH": (b"SSH-2.0-x\r\n", "it does not begin with a TLS hello"),
    "SSL 2": (b"\x80\x2e\x01\x03\x01", "it does not begin with a TLS hello"),
    "application data first": (record(b"hello", kind=23), "it does not begin with a TLS hello"),
    "a server's hello": (record(hello(NAME, kind=2)), "it does not begin with a TLS hello"),
}


@pytest.mark.parametrize("sent", PASSES.values(), ids=PASSES)
def test_a_hello_for_the_host_passes_as_it_came(sent: bytes) -> None:
    """However it is cut up, nothing passes before all of it is there, and then exactly what came."""
    whole, bytewise = Hellos(HOST), Hellos(HOST)
    assert whole.from_agent(sent) == sent
    passed = [bytewise.from_agent(sent[at : at + 1]) for at in range(len(sent))]
    assert passed == [b""] * (len(sent) - 1) + [sent]


@pytest.mark.parametrize(("sent", "why"), REFUSED.values(), ids=REFUSED)
def test_anything_else_is_refused(sent: bytes, why: str) -> None:
    """Whole or byte by byte, with the same words, and not one byte of it has passed."""
    with pytest.raises(HelloRefused) as refused:
        Hellos(HOST).from_agent(sent)
    assert str(refused.value) == why
    passed, refusal = in_parts(Hellos(HOST), sent, 1)
    assert (passed, refusal) == (b"", why)


@given(st.binary(max_size=600))
def test_no_bytes_do_anything_but_pass_wait_or_be_refused(sent: bytes) -> None:
    """Whatever comes, there is an answer; and nothing passes that is not a hello for the host."""
    assert in_parts(Hellos(HOST), b"\x16\x03" + sent, 1000)[0] == b""


@given(st.data())
def test_a_hello_that_is_cut_is_never_taken_for_whole(data: st.DataObject) -> None:
    """Lengths inside say where it ends; shortened ones do not make another name of it."""
    sent = bytearray(named(HOST))
    at = data.draw(st.integers(0, len(sent) - 1))
    sent[at] = data.draw(st.integers(0, 255))
    try:
        passed = Hellos(HOST).from_agent(bytes(sent))
    except HelloRefused:
        return
    # Only what says nothing about the name may differ: version, random, session, cipher suites, compression.
    assert passed in (b"", bytes(sent))
    if passed:
        assert HOST.encode() in bytes(sent).lower()


# --- what follows ----------------------------------------------------------------------------------------


def after_hello() -> Hellos:
    """A connection whose hello has passed."""
    watched = Hellos(HOST)
    assert watched.from_agent(named(HOST))
    return watched


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_after_the_targets_answer_everything_passes(cut: int) -> None:
    """What the agent sends earlier waits; then it passes, in order."""
    watched = after_hello()
    assert watched.from_agent(b"early") == b""
    passed = [watched.from_target(SERVER_HELLO[at : at + cut]) for at in range(0, len(SERVER_HELLO), cut)]
    assert b"".join(passed) == b"early"
    assert watched.from_agent(b"more") == b"more"
    assert watched.from_target(b"and more") == b""


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n", record(b"\x02\x28", kind=21), record(b"")])
def test_a_target_that_does_not_go_on_lets_everything_pass(answer: bytes) -> None:
    """An alert, or no TLS at all: there is no second hello to look for."""
    watched = after_hello()
    assert watched.from_agent(b"x") == b""
    assert watched.from_target(answer) == b"x"


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_a_second_hello_names_the_host_too(cut: int) -> None:
    """After a retry the target reads another hello: it may not name somebody else (RFC 8446, 4.1.2)."""
    between = record(b"\x01", kind=20)  # for middleboxes (RFC 8446, D.4)
    good, bad = after_hello(), after_hello()
    for watched in (good, bad):
        for at in range(0, len(RETRY), cut):
            assert watched.from_target(RETRY[at : at + cut]) == b""
    sent = between + named(HOST)
    assert b"".join(good.from_agent(sent[at : at + cut]) for at in range(0, len(sent), cut)) == sent
    assert good.from_agent(b"more") == b"more"
    passed, refusal = in_parts(bad, between + named(OTHER), cut)
    assert refusal == 'its TLS hello names "other.test"'
    assert passed in (b"", between)


def answered_in_parts(watched: Hellos, said: bytes, cut: int) -> bytes:
    """What of the agent's passed when the target's bytes came in parts."""
    return b"".join(watched.from_target(said[at : at + cut]) for at in range(0, len(said), cut))


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_a_warning_before_the_answer_does_not_open(cut: int) -> None:
    """A server that does not know a name may say so and go on (RFC 6066, 3), and then ask for a second hello."""
    warning = record(b"\x01\x70", kind=21)
    watched = after_hello()
    said = warning + warning + RETRY
    assert watched.from_agent(named(OTHER)) == b""
    with pytest.raises(HelloRefused, match=OTHER):
        answered_in_parts(watched, said, cut)
    answered = after_hello()
    assert answered.from_agent(b"x") == b""
    said = warning + SERVER_HELLO
    assert answered_in_parts(answered, said, cut) == b"x"


def test_a_second_hello_that_does_not_wait_is_looked_at_all_the_same() -> None:
    """Who knows that the target will ask need not wait for it to."""
    watched = after_hello()
    assert watched.from_agent(named(OTHER)) == b""
    with pytest.raises(HelloRefused, match=OTHER):
        watched.from_target(RETRY)


def test_an_agent_does_not_fill_the_memory_while_it_waits() -> None:
    """Early data has an end."""
    passed, refusal = in_parts(after_hello(), bytes(2**21), 2**16)
    assert (passed, "on and on" in refusal) == (b"", True)
