"""A refusal as git shows it: each request of git has another place for words, and hides those that stand elsewhere.

    GET .../info/refs              text/plain with the status      remote: <reason> ...
    POST .../git-upload-pack       "ERR" in a pkt-line, within 200 fatal: remote error: <reason> ...
    POST .../git-receive-pack      band 3 of the side band, in 200 remote: <reason> ..., and the push has failed
    .../info/lfs/...               JSON with a message             git-lfs prints the message

Of any other status for a POST git prints the number and nothing else, so the two that ask for a pack get the success
they want to see before they read; what they read then is an error, and git fails.
"""

from mappings import Request
from proxy.asjson import as_json
from proxy.refusals import Answer, Refusal, made


def git_answer(refusal: Refusal, request: Request) -> Answer:
    """The refusal in the words of the git request that it refuses."""
    sentence = refusal.sentence.encode("utf-8", "replace")
    if request.method == "POST" and request.path.endswith("/git-receive-pack"):
        # https://git-scm.com/docs/gitprotocol-pack, "Packfile Data": band 3 is a fatal error, shown to the user.
        return made(refusal, 200, "application/x-git-receive-pack-result", _packet(b"\x03" + sentence) + b"0000")
    if request.method == "POST" and request.path.endswith("/git-upload-pack"):
        # https://git-scm.com/docs/gitprotocol-pack, "pkt-line Format": error-line
        return made(refusal, 200, "application/x-git-upload-pack-result", _packet(b"ERR " + sentence))
    if "/info/lfs/" in request.path:
        # https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md, "Response Errors"
        body = as_json({"message": refusal.sentence, "request_id": refusal.chron_id})
        return made(refusal, refusal.error_status, "application/vnd.git-lfs+json", body)
    return made(refusal, refusal.error_status, "text/plain; charset=utf-8", sentence + b"\n")


_MAX_CONTENT_BYTES = 65_516
"""https://git-scm.com/docs/gitprotocol-common, "pkt-line Format": what a packet holds at most."""


def _packet(content: bytes) -> bytes:
    content = content[:_MAX_CONTENT_BYTES]  # more has no length that git can read, and the reason would be lost
    return b"%04x%s" % (len(content) + 4, content)
