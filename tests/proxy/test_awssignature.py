"""Requests signed for S3, against the examples in AWS's own documentation."""

from datetime import UTC, datetime

import pytest

from proxy.awssignature import Credentials, read_credentials, signed

# https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, "Examples"
AT = datetime(2013, 5, 24, tzinfo=UTC)
WHO = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
EXAMPLES = {
    "GET object": (
        ("GET", "https://examplebucket.s3.amazonaws.com/test.txt", {"Range": "bytes=0-9"}, b""),
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "PUT object": (
        (
            "PUT",
            "https://examplebucket.s3.amazonaws.com/test$file.text",
            {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            b"Welcome to Amazon S3.",
        ),
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
}


@pytest.mark.parametrize(("request_", "signature"), EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_of_aws(request_, signature) -> None:
    """Method, path, headers and body give the signature that AWS publishes for them."""
    headers = signed(*request_, WHO, AT)
    assert headers["Authorization"].endswith(f",Signature={signature}")
    assert headers["x-amz-date"] == "20130524T000000Z"


def test_credentials_are_read_from_lines() -> None:
    """Two are needed; what is not known is an error."""
    text = "access_key = AKIA\nsecret_key=x=y\nregion = eu-central-1\n\n"
    assert read_credentials(text) == Credentials("AKIA", "x=y", "eu-central-1")
    with pytest.raises(ValueError, match='"user" is none of access_key, secret_key, region, session_token'):
        read_credentials("user = me\n")
    with pytest.raises(ValueError, match='holds no "access_key" and "secret_key"; write one line for each'):
        read_credentials("access_key = AKIA\n")


def test_a_token_of_a_session_is_signed_too() -> None:
    """Temporary credentials bring their token, and it is among what is signed."""
    who = Credentials("A", "B", session_token="T")
    headers = signed("GET", "http://store.test/a", {}, b"", who, AT)
    assert headers["x-amz-security-token"] == "T"
    assert "x-amz-date;x-amz-security-token," in headers["Authorization"]
