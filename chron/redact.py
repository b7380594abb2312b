"""What looks like a credential is masked before it is hashed: what is chained stays for good.

The mark is always `[redacted]`. Masked are: tokens with a known shape (below, each with its source), values
after `Basic`/`Bearer`, after names such as `password=` or `token:`, passwords in URLs, private keys, and
long random-looking words. Left alone are hexadecimal digests and commit ids, UUIDs and ordinary names,
however long.

    redacted_path("/repos/acme/api/pulls/7/merge")         -> unchanged
    redacted_path("/services/T024BE7LD/B024BE7LD/x7Yq...")  -> "/services/[redacted]"
    redacted_path("/login?user=alice&pw=hunter2")           -> "/login?user&pw"
    redacted_text("Authorization: Bearer abc.def")          -> "Authorization: Bearer [redacted]"

This is a net, not a proof: a secret that looks like a word passes. The proxy therefore hands in no header
value, no query value and no body at all.
"""

import re
from string import ascii_lowercase, ascii_uppercase, digits
from urllib.parse import unquote

MARK = "[redacted]"

# Every pattern starts at the beginning of a word, or a long word full of such beginnings would cost its square.
_TOKEN = re.compile(
    r"(?<![\w-])(?:"
    r"eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)*"  # JWT, RFC 7519 section 3.1: base64url of '{"...'
    # docs.github.com "About authentication to GitHub", token formats
    r"|gh[pousr]_\w{16,}|github_pat_\w{16,}"
    # docs.gitlab.com "Token overview", token prefixes
    r"|gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|oas)-[\w.=-]{16,}"
    r"|xox[a-z]-[\w-]{8,}|xapp-[\w-]{8,}"  # docs.slack.dev "Tokens"
    r"|(?:AKIA|ASIA)[A-Z2-7]{16}"  # docs.aws.amazon.com IAM "Identifiers", unique ID prefixes
    r"|sk-[\w-]{16,}|[sr]k_(?:live|test)_\w{16,}"  # OpenAI and Anthropic keys; docs.stripe.com/keys
    r"|cl[mho]_[\w-]{16,}"  # our own tokens, of agents, humans and the operator
    r"|whsec_[\w+/=]{16,}"  # standardwebhooks.com, secrets
    r"|AIza[\w-]{35}|ya29\.[\w-]{16,}"  # cloud.google.com "API keys", OAuth access tokens
    r"|npm_\w{30,}|pypi-[\w-]{30,}|hf_\w{20,}|dop_v1_\w{32,}"  # npm, PyPI, Hugging Face, DigitalOcean
    r"|hv[sbr]\.[\w-]{16,}|\w{14}\.atlasv1\.[\w-]{32,}"  # HashiCorp Vault and HCP Terraform "API tokens"
    r"|SG\.[\w-]{16,}\.[\w-]{16,}"  # SendGrid "API keys"
    r"|bot\d{6,12}:[A-Za-z0-9_-]{30,}"  # core.telegram.org/bots/api "Authorizing your bot"
    r")"
)
_HOOK = re.compile(
    r"(?P<kept>/services/)T\w+/B\w+/\w+"  # docs.slack.dev "Incoming webhooks"
    r"|(?P<hook>/webhooks/\d+/)[\w-]{16,}"  # discord.com/developers "Webhook resource"
)
_NAMED = re.compile(
    r"(?P<kept>\b(?:basic|bearer)[ +]+)[\w.~+/=-]+"  # RFC 7617 section 2, RFC 6750 section 2.1
    r"|(?P<name>(?<![\w-])(?:[\w-]*(?:password|passwd|secret|token|api[_-]?key|apikey|credential|signature))"
    r"""["']?[ ]?[=:][ ]?["']?)(?!\[redacted\])(?:(?:basic|bearer|token)[ ])?[^\s"'&,;/\[\])}]+""",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(?P<kept>://)[^\s/@:]*:[^\s/@]*@")  # RFC 3986 section 3.2.1
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?")  # RFC 7468
_WORD = re.compile(r"[A-Za-z0-9_+=-]{33,}")
_HEX_OR_UUID = re.compile(r"(?:[a-z]+[_-])?(?:[0-9a-f]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)

# What every pattern but _WORD needs to be somewhere in the text, in small letters; spares nearly all texts the search.
_HINTS = (
    *("eyj", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "gldt-", "glrt-", "glcbt-", "glptt-"),
    *("glft-", "glsoat-", "glagent-", "gloas-", "xox", "xapp-", "akia", "asia", "sk-", "sk_", "rk_", "clm_", "aiza"),
    *("clh_", "clo_", "whsec_"),
    *("ya29.", "npm_", "pypi-", "hf_", "dop_v1_", "hvs.", "hvb.", "hvr.", "atlasv1", "sg.", "://", "bot", "/services/"),
    *("/webhooks/", "private key", "basic", "bearer", "passw", "secret", "token", "key", "credential", "signature"),
)
_MARKS = "_-./:"
_WITHOUT_MARK = tuple(hint for hint in _HINTS if not any(mark in hint for mark in _MARKS))
_BY_MARK = tuple((mark, tuple(hint for hint in _HINTS if mark in hint)) for mark in _MARKS)
"""The hints by a character in them: most texts lack most of these characters, and with them most of the hints."""
_SHORTEST = 8
_SORTS = str.maketrans(ascii_lowercase + ascii_uppercase + digits + "_+=", "a" * 26 + "A" * 26 + "0" * 10 + "---")
_SAME_SORT = re.compile(r"a+|A+|0+|-+")


def redacted_text(text: str) -> str:
    """Free text with what looks like a credential replaced by the mark."""
    if len(text) < _SHORTEST:
        return text
    if _hinted(text.lower()):
        text = _PRIVATE_KEY.sub(MARK, text)
        text = _USERINFO.sub(lambda match: f"{match['kept']}{MARK}@", text)
        text = _HOOK.sub(lambda match: f"{match['kept'] or match['hook']}{MARK}", text)
        text = _TOKEN.sub(MARK, text)
        text = _NAMED.sub(lambda match: f"{match['kept'] or match['name']}{MARK}", text)
    return _WORD.sub(_masked_word, text) if len(text) > 32 else text


def _hinted(text: str) -> bool:
    stands = text.__contains__
    if any(map(stands, _WITHOUT_MARK)):
        return True
    return any(mark in text and any(map(stands, hints)) for mark, hints in _BY_MARK)


def redacted_path(path: str) -> str:
    """A path with its credentials masked, also percent-encoded ones; of a query only the names stay."""
    path, question, query = path.partition("#")[0].partition("?")
    path = redacted_text(path)
    if "%" in path:
        path = "/".join(map(_redacted_segment, path.split("/")))
    if question:
        path += "?" + "&".join(redacted_text(pair.partition("=")[0]) for pair in query.split("&"))
    return path


def _redacted_segment(segment: str) -> str:
    plain = unquote(unquote(segment))
    return segment if redacted_text(plain) == plain else MARK


def _masked_word(match: re.Match[str]) -> str:
    return MARK if _looks_random(match[0]) else match[0]


def _looks_random(word: str) -> bool:
    """Whether a word of more than 32 characters changes between small, capital and digit more often than names do.

    Chance changes at 63 of 100 places in base64url and at 40 in small letters with digits; CamelCase names of long
    words stay below 42, and names in small letters are joined by dashes. Measured on drawn tokens of 256 bits: 99.6 of
    100 in base64url and 98.6 in letters and digits are masked. In doubt a name is masked rather than a secret kept.
    """
    if _HEX_OR_UUID.fullmatch(word):
        return False
    sorts = word.translate(_SORTS)
    changes = len(_SAME_SORT.findall(sorts)) / len(word)
    if "a" in sorts and "A" in sorts and "0" in sorts:
        return changes >= 0.42
    return "-" not in sorts and changes >= 0.22
