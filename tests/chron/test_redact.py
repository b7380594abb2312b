"""Credentials by their looks. Every row is a real shape with an invented value."""

import base64
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chron import printable, redacted_path, redacted_text

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkZXBsb3ktYm90In0.c2lnbmF0dXJlc2lnbmF0dXJl"
LONG = "q7Yt0Zk3mVx9RbN2wLc5JhD8sPf1GuAeTo4KiXyMzQ6"

PATHS = {
    "github token": ("/x/ghp_16C7e42F292c6912E7710c838347Ae178B4a/y", "/x/[redacted]/y"),
    "github fine-grained token": ("/x/github_pat_11ABCDEFG0aBcDeFgHiJkL_mNoPq", "/x/[redacted]"),
    "gitlab token": ("/x/glpat-a1B2c3D4e5F6g7H8i9J0", "/x/[redacted]"),
    "slack token": ("/api/xoxb-123456789012-abcdefGHIJKL", "/api/[redacted]"),
    "slack webhook": ("/services/T024BE7LD/B024BE7LE/a1B2c3D4e5F6g7H8i9J0k1L2", "/services/[redacted]"),
    "discord webhook": ("/api/webhooks/123456789/a1B2c3D4e5F6g7H8i9J0k1L2", "/api/webhooks/123456789/[redacted]"),
    "telegram bot": ("/bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/getMe", "/[redacted]/getMe"),
    "aws access key": ("/x/AKIAIOSFODNN7EXAMPLE", "/x/[redacted]"),
    "aws session key": ("/x/ASIAIOSFODNN7EXAMPLE", "/x/[redacted]"),
    "telegram token alone": ("/x/123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw", "/x/123456789:[redacted]"),
    "jwt": (f"/verify/{JWT}/ok", "/verify/[redacted]/ok"),
    "our own token": ("/x/clm_a1B2c3D4e5F6g7H8i9J0", "/x/[redacted]"),
    "a human's token": ("/x/clh_a1B2c3D4e5F6g7H8i9J0", "/x/[redacted]"),
    "the operator's token": ("/x/clo_a1B2c3D4e5F6g7H8i9J0", "/x/[redacted]"),
    "a webhook's secret": ("/x/whsec_a1B2c3D4e5F6g7H8i9J0", "/x/[redacted]"),
    "a model key": ("/x/sk-ant-api03-a1B2c3D4e5F6g7H8", "/x/[redacted]"),
    "256 random bits": (f"/reset/{LONG}", "/reset/[redacted]"),
    "percent-encoded": ("/x/ghp%5F16C7e42F292c6912E7710c838347Ae178B4a/y", "/x/[redacted]/y"),
    "encoded twice": ("/x/ghp%255F16C7e42F292c6912E7710c838347Ae178B4a", "/x/[redacted]"),
    "query values": ("/login?user=alice&pw=hunter2&flag", "/login?user&pw&flag"),
    "a secret as query name": ("/x?ghp_16C7e42F292c6912E7710c838347Ae178B4a=1", "/x?[redacted]"),
    "a fragment": ("/x#access_token=abc", "/x"),
}
KEPT_PATHS = [
    "/",
    "/repos/acme/api/pulls/7/merge",
    "/repos/acme/api/git/commits/7fd1a60b01f91b314f59955a4e4d4e80d8edf11d",
    "/v2/acme/api/blobs/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "/v2/acme/api/manifests/sha256%3Ae3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "/subscriptions/6ba7b810-9dad-11d1-80b4-00c04fd430c8/resourceGroups",
    "/apis/apps/v1/namespaces/production/deployments/payments-gateway-worker-with-a-long-name-7d9f8b6c5d-x2x4z",
    "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-central-1%3A123456789012%3Afunction%3Ahandler",
    "/DescribeInstanceCreditSpecificationsForAllRegions2016",
    "/api/v4/projects/acme%2Finfrastructure%2Fterraform-modules/merge_requests/12",
    "/o/task-runner/v1/skills",
    "/chron/chr_01k9z3v5xq8w7e6r5t4y3u2i1o",
    "/terraform.io/docs/providers/registry.terraform.io/hashicorp/aws/5.31.0/download/linux/amd64",
    "/a%20b/c%2Fd",
]

TEXTS = {
    "bearer": ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer [redacted]"),
    "basic": ("proxy said Basic ZGVwbG95OnNlY3JldA== no", "proxy said Basic [redacted] no"),
    "bearer in lower case": ("bearer abcdef", "bearer [redacted]"),
    "password assignment": (
        "cannot log in with password=hunter2, giving up",
        "cannot log in with password=[redacted], giving up",
    ),
    "json secret": ('{"client_secret": "a b", "x": 1}', '{"client_secret": "[redacted] b", "x": 1}'),
    "token header": ("X-Vault-Token: hvs.CAESIJ", "X-Vault-Token: [redacted]"),
    "password in a URL": ("clone https://bot:s3cret@git.acme.test/x", "clone https://[redacted]@git.acme.test/x"),
    "private key": (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----",
        "[redacted]",
    ),
    "terraform cloud": ("key kX9Yz8Wv7Ut6Sr.atlasv1.aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789", "key [redacted]"),
    "stripe": ("sk_live_a1B2c3D4e5F6g7H8i9J0 used", "[redacted] used"),
    "google": ("key is AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6q", "key is [redacted]"),
    "twice": (f"{LONG} and {LONG}", "[redacted] and [redacted]"),
}
KEPT_TEXTS = [
    "",
    "policy:no-prod-v1 -- action not in allow list",
    "skill:deploy-v2 -- action in deny list",
    "agent:deploy-bot -- suspended",
    "kubernetes:delete:apps/deployments",
    "https://api.acme.test:8443/v1",
    "arn:aws:ec2:eu-central-1:123456789012:instance/i-0123456789abcdef0",
    "connection refused by 10.0.0.7:443",
    "the token endpoint answered 500",
    "alice@acme.test",
]


@pytest.mark.parametrize(("path", "shown"), PATHS.values(), ids=PATHS)
def test_a_path_loses_its_credentials(path, shown):
    """What looks like a credential in a path is masked, and masking again changes nothing."""
    assert redacted_path(path) == shown
    assert redacted_path(shown) == shown


@pytest.mark.parametrize("path", KEPT_PATHS)
def test_an_ordinary_path_stays(path):
    """Names, digests, commit ids and UUIDs are what a reader of the log needs."""
    assert redacted_path(path) == path


@pytest.mark.parametrize(("text", "shown"), TEXTS.values(), ids=TEXTS)
def test_a_text_loses_its_credentials(text, shown):
    """What looks like a credential in free text is masked, and masking again changes nothing."""
    assert redacted_text(text) == shown
    assert redacted_text(shown) == shown


@pytest.mark.parametrize("text", KEPT_TEXTS)
def test_an_ordinary_text_stays(text):
    """Reasons, actions, hosts and messages are not touched."""
    assert redacted_text(text) == text


def test_random_tokens_are_masked_however_drawn():
    """At least 99 of 100 random tokens of 256 bits are masked; none of 2,000 long names is."""
    draw = random.Random(7)
    tokens = [base64.urlsafe_b64encode(draw.randbytes(32)).decode().rstrip("=") for _ in range(1000)]
    tokens += ["".join(draw.choices(string.ascii_lowercase + string.digits, k=43)) for _ in range(1000)]
    masked = sum(redacted_path(f"/t/{token}").startswith("/t/[redacted]") for token in tokens)
    assert masked >= 1980
    words = ["api", "gateway", "worker", "payments", "production", "eu", "deploy", "controller", "manager", "cache"]
    for _ in range(2000):
        name = "-".join(draw.choices(words, k=6)) + f"-{draw.randbytes(5).hex()}-{draw.randbytes(3).hex()[:5]}"
        camel = "".join(word.title() for word in draw.sample(words, k=7)) + str(draw.randrange(100))
        assert redacted_path(f"/n/{name}/{camel}") == f"/n/{name}/{camel}"


@given(st.text(max_size=200))
def test_redacting_never_fails_and_settles(text):
    """Any text can be redacted, and a second pass finds nothing new."""
    once = redacted_text(text)
    assert redacted_text(once) == once


@pytest.mark.parametrize(
    "unit", ["a", "a-", "eyJ", "/", "%25", "token=", ":", "Basic ", "xoxb-", "a1B", "-----BEGIN ", "token-", "://a:"]
)
def test_no_text_stalls_it(unit):
    """A long text made to be slow is read in one go: with a pattern that backtracks this would not end."""
    long = unit * (65536 // len(unit))
    once = redacted_text(long)
    assert redacted_text(once) == once
    assert redacted_path(long).count("/") <= long.count("/") + 1


PRINTED = {
    "plain": ("deploy:staging übergang 日本", "deploy:staging übergang 日本"),
    "crlf": ("GET\r\nDENY", r"GET\r\nDENY"),
    "ansi": ("\x1b[2J\x1b[31mALLOW", r"\x1b[2J\x1b[31mALLOW"),
    "c1": ("\x9b31m", r"\x9b31m"),
    "nul and delete": ("a\x00b\x7f", r"a\x00b\x7f"),
    "right-to-left override": ("\u202eYNED", r"\u202eYNED"),
    "line separator": ("a\u2028b", r"a\u2028b"),
    "zero width": ("dep\u200bloy", r"dep\u200bloy"),
    "tag characters": ("a\U000e0041", r"a\U000e0041"),
}


@pytest.mark.parametrize(("text", "shown"), PRINTED.values(), ids=PRINTED)
def test_a_terminal_is_not_obeyed(text, shown):
    """Control, bidirectional and invisible characters are shown as escapes."""
    assert printable(text) == shown
