"""A refusal in the protocol of the AWS call that it refuses, so that the CLI and every SDK print it as AWS's own.

    Smithy-Protocol: rpc-v2-cbor        CBOR           CloudWatch, and ever more services whose SDKs are new
    X-Amz-Target                        JSON           DynamoDB, KMS, ECS, ...
    signed for ec2                      EC2 XML
    a form, or Action in the URL        Query XML      IAM, STS, ...
    signed for s3, route53, cloudfront  REST XML       S3 without a frame around the error
    all else                            REST JSON      Lambda, EKS, ...

A HEAD has no body in any of them: its SDK knows the status alone.
"""

import re
from xml.sax.saxutils import escape

from mappings import Request
from proxy.asjson import as_json
from proxy.refusals import Answer, Refusal, made
from proxy.shapes import word

_JSON = ("application/x-amz-json-1.0", "application/x-amz-json-1.1")
_FORM = "application/x-www-form-urlencoded"
_CBOR = "rpc-v2-cbor"
_SCOPE = re.compile(r"/([A-Za-z0-9-]+)/aws4_request")
"""The service in a credential scope (IAM user guide, "Signature Version 4 signing elements"); SigV4A's ends alike."""
_REST_XML = frozenset({"cloudfront", "route53", "s3"})
"""What they are signed for (botocore, data/*/service-2.json, "protocol": "rest-xml")."""
_S3 = frozenset({"s3", "s3-object-lambda", "s3-outposts", "s3express"})
_IN_JSON = ("AccessDeniedException", "ThrottlingException")
_IN_XML = ("AccessDenied", "Throttling")
_OF_EC2 = ("UnauthorizedOperation", "RequestLimitExceeded")
_OF_S3 = ("AccessDenied", "SlowDown")
"""What a denial is called, and what is asked too often: IAM API reference, "Common Errors"; EC2 and S3 API references,
"Error codes"."""
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""https://www.w3.org/TR/xml/#charsets: what no escape makes legal, so that a parser would drop the reason."""


def aws_answer(refusal: Refusal, request: Request) -> Answer:
    """The refusal as an error of the protocol that the request speaks."""
    message = _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", refusal.sentence)
    service = _service(request)
    if (request.header("smithy-protocol") or "") == _CBOR:
        # https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html, "Operation error serialization"
        body = _cbor({"__type": _code(refusal, *_IN_JSON), "message": message})
        return _answer(refusal, "application/cbor", body, (b"smithy-protocol", _CBOR.encode()))
    if request.header("x-amz-target") is not None:
        asked = (request.header("content-type") or "").partition(";")[0].strip().lower()
        return _json(refusal, asked if asked in _JSON else _JSON[-1], message)
    if service == "ec2" or request.host.startswith("ec2."):
        return _answer(refusal, "text/xml", _ec2(refusal, message))
    if _is_query(request):
        return _answer(refusal, "text/xml", _framed(refusal, message))
    if service in _S3 or (not service and ".s3" in f".{request.host}"):
        xml = _framed if request.header("x-amz-account-id") else _bare  # that header is S3 Control's
        return _answer(refusal, "application/xml", xml(refusal, message))
    if service in _REST_XML:
        return _answer(refusal, "text/xml", _framed(refusal, message))
    return _json(refusal, "application/json", message)


def _service(request: Request) -> str:
    """What the request is signed for; "" when it is not signed."""
    presigned = [text for key, text in request.query if key == "X-Amz-Credential"]
    signed = [request.header("authorization") or "", *presigned]
    found = next((match for text in signed if (match := _SCOPE.search(text))), None)
    return found[1].lower() if found else ""


def _is_query(request: Request) -> bool:
    form = (request.header("content-type") or "").lower().startswith(_FORM)
    return form or any(name == "Action" for name, _ in request.query)


def _code(refusal: Refusal, denied: str, throttled: str) -> str:
    """What AWS calls an error of that status; SDKs repeat by it what was throttled, and never AccessDenied."""
    return {403: denied, 429: throttled}.get(refusal.error_status) or word(refusal.error_status)


def _json(refusal: Refusal, media: str, message: str) -> Answer:
    # https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html and aws-restjson1-protocol.html,
    # "Operation error serialization"
    code = _code(refusal, *_IN_JSON)
    body = as_json({"__type": code, "message": message, "Message": message})
    return _answer(refusal, media, body, (b"x-amzn-errortype", code.encode()))


def _ec2(refusal: Refusal, message: str) -> bytes:
    # https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-error-codes.html
    return _xml(
        f"<Response><Errors><Error>{_named(_code(refusal, *_OF_EC2), message)}</Error></Errors>"
        f"<RequestID>{escape(refusal.chron_id)}</RequestID></Response>"
    )


def _framed(refusal: Refusal, message: str) -> bytes:
    # https://smithy.io/2.0/aws/protocols/aws-query-protocol.html and aws-restxml-protocol.html,
    # "Operation error serialization"
    return _xml(
        f"<ErrorResponse><Error><Type>Sender</Type>{_named(_code(refusal, *_IN_XML), message)}</Error>"
        f"<RequestId>{escape(refusal.chron_id)}</RequestId></ErrorResponse>"
    )


def _bare(refusal: Refusal, message: str) -> bytes:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, "REST error responses"
    named = _named(_code(refusal, *_OF_S3), message)
    return _xml(f"<Error>{named}<RequestId>{escape(refusal.chron_id)}</RequestId></Error>")


def _named(code: str, message: str) -> str:
    return f"<Code>{code}</Code><Message>{escape(message)}</Message>"


def _xml(text: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def _cbor(texts: dict[str, str]) -> bytes:
    """A map of texts (RFC 8949, 3.1: major types 5 and 3)."""
    encoded = [text.encode() for pair in texts.items() for text in pair]
    return bytes([0xA0 + len(texts)]) + b"".join(b"\x7a%b%b" % (len(each).to_bytes(4), each) for each in encoded)


def _answer(refusal: Refusal, media: str, body: bytes, *extra: tuple[bytes, bytes]) -> Answer:
    return made(refusal, refusal.error_status, media, body, extra)
