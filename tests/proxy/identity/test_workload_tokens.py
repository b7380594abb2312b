"""Workload tokens: what proves an identity, and everything that looks like it and does not."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk

from proxy.config import SIGNATURE_ALGORITHMS, ConfigError, JwtIssuer, SignatureAlgorithm
from proxy.identity import Issuers, Proof, load_issuers
from proxy.identity.keys import read_keys
from support.identity import AUDIENCE, ISSUER, JWT_IDENTITY, TokenIssuer

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EC = TokenIssuer()
OTHER = TokenIssuer()
RSA_KEY = jwk.RSAKey.generate_key(2048)


def believing(
    path: Path, issuer: TokenIssuer = EC, algorithms: tuple[SignatureAlgorithm, ...] = SIGNATURE_ALGORITHMS
) -> Issuers:
    return load_issuers([JwtIssuer(ISSUER, AUDIENCE, issuer.write(path / "jwks.json"), algorithms)])


@pytest.fixture(scope="module")
def issuers(tmp_path_factory: pytest.TempPathFactory) -> Issuers:
    """One issuer with an EC and an RSA key."""
    return believing(tmp_path_factory.mktemp("jwks"), TokenIssuer(k1=EC.keys["k1"], rsa=RSA_KEY))


# --- what proves ---------------------------------------------------------------------------------------


def test_a_token_in_order_proves_its_issuer_and_subject(issuers: Issuers) -> None:
    """The identity is written "jwt:<issuer>#<subject>", and ends when the token does."""
    assert issuers.read(EC.token(AT), AT) == Proof(JWT_IDENTITY, AT + timedelta(seconds=600))


KEYS: dict[SignatureAlgorithm, Callable[[], jwk.Key]] = {
    "RS256": lambda: RSA_KEY,
    "PS256": lambda: RSA_KEY,
    "ES256": lambda: EC.keys["k1"],
    "ES384": lambda: jwk.ECKey.generate_key("P-384"),
    "EdDSA": lambda: jwk.OKPKey.generate_key("Ed25519"),
    "Ed25519": lambda: jwk.OKPKey.generate_key("Ed25519"),
}


@pytest.mark.parametrize("algorithm", SIGNATURE_ALGORITHMS)
def test_each_algorithm_that_is_allowed_by_default_verifies(tmp_path: Path, algorithm: SignatureAlgorithm) -> None:
    """A key that the issuer publishes verifies what it signed."""
    issuer = TokenIssuer(k1=KEYS[algorithm]())
    token = issuer.sign(issuer.claims(AT), alg=algorithm)
    assert believing(tmp_path, issuer).read(token, AT) == Proof(JWT_IDENTITY, AT + timedelta(seconds=600))


STILL_RIGHT: dict[str, dict[str, Any]] = {
    "one audience of several": {"aud": ["other", AUDIENCE]},
    "no nbf and no iat": {"nbf": None, "iat": None},
    "begun within the leeway": {"nbf": int(AT.timestamp()) + 59},
    "the last second": {"exp": int(AT.timestamp()) + 1},
    "parts of a second": {"exp": AT.timestamp() + 0.5},
    "a day long": {"iat": int(AT.timestamp()), "exp": int(AT.timestamp()) + 86_400},
}


@pytest.mark.parametrize("claims", STILL_RIGHT.values(), ids=STILL_RIGHT)
def test_a_token_at_the_edge_still_counts(issuers: Issuers, claims: dict[str, Any]) -> None:
    """What the RFC allows, and what the clocks of two machines differ by."""
    assert isinstance(issuers.read(EC.token(AT, **claims), AT), Proof)


# --- what does not -------------------------------------------------------------------------------------

NOW_S = int(AT.timestamp())
CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": NOW_S}, "expired"),
    "expired long ago": ({"iat": 5, "nbf": 5, "exp": 10}, "expired"),
    "no expiry": ({"exp": None}, "without an expiry"),
    "an expiry in words": ({"exp": "tomorrow"}, "not readable"),
    "an expiry that is true": ({"exp": True}, "not readable"),
    "an expiry without end": ({"exp": 10**300}, "not readable"),
    "not begun": ({"nbf": NOW_S + 61}, "not valid yet"),
    "issued in the future": ({"iat": NOW_S + 61}, "not valid yet"),
    "lives for a year": ({"exp": NOW_S + 31_536_000}, "lives too long"),
    "lives for a year and hides when it began": ({"exp": NOW_S + 31_536_000, "iat": None}, "lives too long"),
    "near the end of a long life": ({"iat": NOW_S - 31_536_000, "exp": NOW_S + 60}, "lives too long"),
    "another audience": ({"aud": "kubernetes"}, "for another audience"),
    "no audience": ({"aud": None}, "for another audience"),
    "an audience that begins alike": ({"aud": AUDIENCE + "-staging"}, "for another audience"),
    "another issuer": ({"iss": "https://evil.test"}, "of an unknown issuer"),
    "no issuer": ({"iss": None}, "of an unknown issuer"),
    "issuers in a list": ({"iss": [ISSUER]}, "of an unknown issuer"),
    "no subject": ({"sub": None}, "without a subject"),
    "an empty subject": ({"sub": ""}, "without a subject"),
    "a subject of two lines": ({"sub": "a\nb"}, "without a subject"),
    "a subject that is a number": ({"sub": 7}, "without a subject"),
}


@pytest.mark.parametrize(("claims", "why"), CLAIMS.values(), ids=CLAIMS)
def test_wrong_claims_prove_nothing(issuers: Issuers, claims: dict[str, Any], why: str) -> None:
    """A signature that is right does not make up for what it signed."""
    assert issuers.read(EC.token(AT, **claims), AT) == f"workload token {why}"


def part(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def raw(header: object, payload: object, signature: str = "c2ln") -> str:
    return f"{part(header)}.{part(payload)}.{signature}"


def shared(alg: str) -> str:
    """Alg confusion: the public key, which everybody has, taken as a shared one."""
    pem = RSA_KEY.as_pem(private=False)
    return EC.sign(EC.claims(AT), kid="rsa", alg=alg, key=jwk.OctKey.import_key(base64.urlsafe_b64encode(pem)))


GOOD = EC.claims(AT)
FORGED: dict[str, tuple[Callable[[], str], str]] = {
    "signed with another key": (lambda: OTHER.token(AT), "not signed by its issuer"),
    "nobody's signature": (
        lambda: raw({"alg": "none", "kid": "k1"}, GOOD, ""),
        "with an algorithm that is not allowed",
    ),
    "none in capitals": (lambda: raw({"alg": "NoNe", "kid": "k1"}, GOOD, ""), "with an algorithm that is not allowed"),
    "no algorithm": (lambda: raw({"kid": "k1"}, GOOD), "with an algorithm that is not allowed"),
    "algorithms in a list": (
        lambda: raw({"alg": ["ES256"], "kid": "k1"}, GOOD),
        "with an algorithm that is not allowed",
    ),
    "public key as shared key": (lambda: shared("HS256"), "with an algorithm that is not allowed"),
    "another key's algorithm": (
        lambda: EC.sign(GOOD, kid="k1", alg="RS256", key=RSA_KEY),
        "with an algorithm that is not its key's",
    ),
    "right algorithm, empty signature": (
        lambda: raw({"alg": "ES256", "kid": "k1"}, GOOD, ""),
        "not signed by its issuer",
    ),
    "no kid": (lambda: EC.sign(GOOD, kid=None), "of an unknown key"),
    "a kid nobody knows": (lambda: EC.sign(GOOD, kid="k2", key=EC.keys["k1"]), "of an unknown key"),
    "a kid that is a path": (lambda: EC.sign(GOOD, kid="../../dev/null", key=EC.keys["k1"]), "of an unknown key"),
    "a kid that is a query": (lambda: EC.sign(GOOD, kid="k1' OR '1'='1", key=EC.keys["k1"]), "of an unknown key"),
    "a kid that is a list": (lambda: raw({"alg": "ES256", "kid": ["k1"]}, GOOD), "of an unknown key"),
    "its own key in the header": (
        lambda: OTHER.sign(GOOD, jwk=OTHER.keys["k1"].as_dict(private=False)),
        "not signed by its issuer",
    ),
    "a place to fetch the key from": (
        lambda: OTHER.sign(GOOD, jku="https://evil.test/jwks.json"),
        "not signed by its issuer",
    ),
    "a critical extension": (
        lambda: raw({"alg": "ES256", "kid": "k1", "crit": ["exp"], "exp": 1}, GOOD),
        "with extensions that are not understood",
    ),
    "an unencoded payload": (
        lambda: raw({"alg": "ES256", "kid": "k1", "b64": False}, GOOD),
        "with extensions that are not understood",
    ),
    "two algorithms": (lambda: raw('{"alg":"ES256","alg":"none","kid":"k1"}', GOOD), "not readable"),
    "two subjects": (lambda: raw({"alg": "ES256", "kid": "k1"}, '{"sub":"a","sub":"b"}'), "not readable"),
    "a header that is a list": (lambda: raw([], GOOD), "not readable"),
    "a payload that is no JSON": (lambda: raw({"alg": "ES256", "kid": "k1"}, "{"), "not readable"),
    "very deep": (lambda: raw({"alg": "ES256", "kid": "k1"}, "[" * 3000), "not readable"),
    "no base64": (lambda: "a.b.c", "not readable"),
    "very long": (lambda: EC.token(AT, more="x" * 9000), "too long"),
}


@pytest.mark.parametrize(("made", "why"), FORGED.values(), ids=FORGED)
def test_a_forged_token_proves_nothing(issuers: Issuers, made: Callable[[], str], why: str) -> None:
    """Nothing that a token says about itself chooses the key or the algorithm it is verified with."""
    assert issuers.read(made(), AT) == f"workload token {why}"


def test_an_algorithm_that_the_configuration_leaves_out_is_refused(tmp_path: Path) -> None:
    """Although the issuer has a key for it."""
    issuers = believing(tmp_path, TokenIssuer(k1=EC.keys["k1"], rsa=RSA_KEY), ("RS256",))
    assert issuers.read(EC.token(AT), AT) == "workload token with an algorithm that is not allowed"


def test_the_keys_of_one_issuer_do_not_sign_for_another(tmp_path: Path) -> None:
    """Who is believed for staging cannot make a token of production."""
    entries = [
        JwtIssuer(ISSUER, AUDIENCE, EC.write(tmp_path / "a.json"), SIGNATURE_ALGORITHMS),
        JwtIssuer("https://staging.test", AUDIENCE, OTHER.write(tmp_path / "b.json"), SIGNATURE_ALGORITHMS),
    ]
    assert load_issuers(entries).read(OTHER.token(AT), AT) == "workload token not signed by its issuer"


def test_a_token_that_was_right_is_looked_at_again_for_its_time(issuers: Issuers) -> None:
    """What is remembered is the signature, never that a token counts."""
    token = EC.token(AT)
    assert isinstance(issuers.read(token, AT), Proof)
    assert issuers.read(token, AT + timedelta(seconds=600)) == "workload token expired"
    assert issuers.read(token, AT - timedelta(seconds=90)) == "workload token not valid yet"
    assert isinstance(issuers.read(token, AT), Proof)


@given(st.text(alphabet="aZ09-_.=é\n{}", max_size=60))
def test_any_text_has_an_answer(issuers: Issuers, text: str) -> None:
    """Nothing that is presented raises, and nothing made up is a proof."""
    assert isinstance(issuers.read(text, AT), str)


@given(st.data())
def test_a_token_that_was_touched_proves_nothing_else(issuers: Issuers, data: st.DataObject) -> None:
    """Whichever character of a token is changed, it proves the same identity or none."""
    token = EC.token(AT)
    at = data.draw(st.integers(0, len(token) - 1))
    put = data.draw(st.sampled_from("aZ09-_."))
    read = issuers.read(token[:at] + put + token[at + 1 :], AT)
    assert isinstance(read, str) or read.identity == JWT_IDENTITY


# --- the issuer's keys ---------------------------------------------------------------------------------

PUBLIC = {**EC.keys["k1"].as_dict(private=False), "kid": "k1"}
FILES: dict[str, tuple[str, str]] = {
    "not JSON": ('{"keys": [}', ":1:11: not JSON: expecting value; save what the issuer publishes"),
    "not UTF-8": ("\udcff", ": not JSON; save what the issuer publishes as its JWKS"),
    "a key alone": (json.dumps(PUBLIC), ': not a JWK Set; it has the form {"keys": [...]}'),
    "no key": ('{"keys": []}', ": no key to verify with; save what the issuer publishes as its JWKS"),
    "a private key": (
        json.dumps({"keys": [{**EC.keys["k1"].as_dict(private=True), "kid": "k1"}]}),
        ': key "k1" is private; keep only its public part',
    ),
    "a private key for encryption": (
        json.dumps({"keys": [PUBLIC, {**EC.keys["k1"].as_dict(private=True), "kid": "k2", "use": "enc"}]}),
        ': key "k2" is private; keep only its public part',
    ),
    "a shared key": (
        json.dumps({"keys": [PUBLIC, {"kty": "oct", "kid": "s", "k": "c2VjcmV0"}]}),
        ': key "s" is shared (oct); workload tokens are signed with a key pair',
    ),
    "one kid twice": (json.dumps({"keys": [PUBLIC, PUBLIC]}), ': key "k1" stands there twice; keep one'),
    "no kid": (
        json.dumps({"keys": [{name: value for name, value in PUBLIC.items() if name != "kid"}]}),
        ': key 1 has no "kid"; tokens name their key by it',
    ),
    "a point off the curve": (
        json.dumps({"keys": [{**PUBLIC, "x": PUBLIC["y"]}]}),
        ': key "k1" cannot be read as a key; save what the issuer publishes',
    ),
    "a short RSA key": (
        json.dumps(
            {"keys": [{"kty": "RSA", "kid": "k1", "n": base64.urlsafe_b64encode(b"\xc1" * 128).decode(), "e": "AQAB"}]}
        ),
        ': key "k1" is shorter than 2048 bits; have the issuer replace it',
    ),
    "keys for encryption alone": (
        json.dumps({"keys": [{**PUBLIC, "use": "enc"}]}),
        ": no key to verify with; save what the issuer publishes as its JWKS",
    ),
}


@pytest.mark.parametrize(("text", "fault"), FILES.values(), ids=FILES)
def test_a_file_that_is_no_set_of_public_keys_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    """As a whole, when it is loaded; with the place and the remedy, and without the key."""
    path = tmp_path / "jwks.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as raised:
        read_keys(path)
    assert str(raised.value) == f"{path}{fault}"


def test_keys_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    """An issuer may publish keys for others than us (RFC 7517, 5)."""
    path = tmp_path / "jwks.json"
    unknown = {"kty": "AKP", "kid": "pq", "alg": "ML-DSA-44", "pub": "AA"}
    path.write_text(json.dumps({"keys": [unknown, {**PUBLIC, "kid": "enc", "use": "enc"}, PUBLIC]}))
    assert read_keys(path).keys() == {"k1"}


def test_every_fault_of_every_issuer_is_told(tmp_path: Path) -> None:
    """A missing file, and one without a key for what is allowed."""
    rsa_only: tuple[SignatureAlgorithm, ...] = ("RS256",)
    entries = [
        JwtIssuer("a", AUDIENCE, tmp_path / "none.json", rsa_only),
        JwtIssuer("b", AUDIENCE, EC.write(tmp_path / "ec.json"), rsa_only),
    ]
    with pytest.raises(ConfigError) as raised:
        load_issuers(entries)
    assert str(raised.value).splitlines() == [
        f"{tmp_path / 'none.json'}: cannot read: no such file or directory; save the issuer's JWKS there",
        f"{tmp_path / 'ec.json'}: no key for RS256; allow what the issuer signs with",
    ]
