"""The grammar of `listeners` in `claiim.yaml`: ways in beside the proxy's own.

    listeners:
      github:  {mode: reverse, listen: "127.0.0.1:8301", target: "https://api.github.com"}
      socks:   {mode: socks5, listen: "127.0.0.1:1080"}
      builder: {mode: reverse, listen: "10.77.0.1:8302", target: "https://api.openai.com", proves: listener}
      bare:    {mode: proxy, listen: "10.77.0.1:8082", proves: address}
      netns:   {mode: transparent, listen: "10.77.0.1:8443", proves: address}

    mode "reverse" needs "target": the one API that is behind it
    "https://api.github.com/v3" is not a target; write scheme and host alone, for example "https://api.github.com"

What is fixed here is not for the agent to say: where a reverse listener leads, and whose a listener is that proves.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from mappings import CanonicalError, split_authority
from proxy.config import EngineName, ListenerConfig, Proof, parse_address

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""As in `policies.schema`: identities are written "listener:<name>"."""
_TARGET = re.compile(r"(https?)://([^/?#@\s]+)/?")  # RFC 3986, 3: no user information, no path
_DEFAULT_PORT = {"http": 80, "https": 443}


def _is_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f'"{text}" is not a name; use up to 64 of a-z, 0-9 and ._- and begin with a letter or digit')
    return text


def _is_address(text: str) -> str:
    parse_address(text)
    return text


def _is_target(text: str) -> str:
    _read_target(text)
    return text


def _read_target(text: str) -> tuple[str, str, int]:
    found = _TARGET.fullmatch(text)
    try:
        if found is None:
            raise CanonicalError("authority", "no scheme and host")
        return found[1], *split_authority(found[2], _DEFAULT_PORT[found[1]])
    except CanonicalError:
        raise ValueError(
            f'"{text}" is not a target; write scheme and host alone, for example "https://api.github.com"'
        ) from None


def _is_whole(section: "ListenerSection") -> "ListenerSection":
    if section.mode == "reverse" and section.target is None:
        raise ValueError('mode "reverse" needs "target": the one API that is behind it')
    if section.mode != "reverse" and section.target is not None:
        raise ValueError(f'mode "{section.mode}" has no "target"; agents name theirs')
    if section.mode == "transparent" and section.tls:
        raise ValueError('mode "transparent" has no "tls"; what is redirected there is meant for somebody else')
    if section.engine == "fast" and section.mode not in ("proxy", "reverse"):
        raise ValueError(f'mode "{section.mode}" is served by the mitmproxy engine alone; leave "engine" out')
    return section


class ListenerSection(BaseModel):
    """One of `listeners`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mode: Literal["proxy", "reverse", "socks5", "transparent"]
    listen: Annotated[str, AfterValidator(_is_address)]
    target: Annotated[str, AfterValidator(_is_target)] | None = None
    proves: Proof = "nothing"
    tls: bool = False
    engine: EngineName | None = None


type Listeners = dict[Annotated[str, AfterValidator(_is_name)], Annotated[ListenerSection, AfterValidator(_is_whole)]]


def compile_listeners(sections: Mapping[str, ListenerSection]) -> tuple[ListenerConfig, ...]:
    """The further listeners, as they were checked."""
    return tuple(
        ListenerConfig(
            name=name,
            mode=section.mode,
            listen=parse_address(section.listen),
            target=_read_target(section.target) if section.target else None,
            proves=section.proves,
            tls=section.tls,
            engine=section.engine,
        )
        for name, section in sections.items()
    )
