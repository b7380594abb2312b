"""Signed bundles: what is not exactly what was signed by a known key is refused, with the reason."""

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import PolicyError
from policies.bundles import MAX_BYTES, pack, sign, unpack, verify
from policies.signingkeys import key_id, read_private_key, read_public_key

KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
ID, OTHER_ID = key_id(KEY.public_key()), key_id(OTHER.public_key())
KEYS = {ID: KEY.public_key()}
TEXTS = {
    "skills/deploy.yaml": "skill: deploy-v2\nallow: [deploy:staging]\n",
    "no-prod.yaml": "policy: no-prod\nallow: []\n",
}
SIGNED = sign(pack("site", TEXTS, "s"), KEY, "s")


def members(data: bytes = SIGNED) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]


type Members = dict[str, bytes] | list[tuple[str, bytes]]


def tar(
    found: Members, change: Callable[[tarfile.TarInfo], None] | None = None, kind: int = tarfile.USTAR_FORMAT
) -> bytes:
    """Write members as any program may: in this order, and with what `change` does to each header."""
    out = io.BytesIO()
    archive = tarfile.TarFile(fileobj=out, mode="w", format=kind)
    for name, content in found.items() if isinstance(found, dict) else found:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        if change:
            change(info)
        archive.addfile(info, io.BytesIO(content))
    # Closing it would add as many zeros as a tape needs.
    return out.getvalue() + bytes(1024)


def changed(name: str, content: bytes) -> bytes:
    return tar({**members(), name: content})


def resigned(manifest: object) -> bytes:
    """Sign whatever manifest; only the holder of the key could."""
    data = (
        manifest
        if isinstance(manifest, bytes)
        else json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    )
    found = {**members(), "manifest.json": data}
    found[f"signatures/{ID}"] = KEY.sign(b"claiim-bundle-v1\n" + data)
    return tar(found)


def test_what_was_signed_is_what_is_read() -> None:
    """Texts with their paths, id, digest and who signed; the same texts make the same bytes."""
    bundle = verify(SIGNED, KEYS, "site.claiim")
    assert (bundle.id, bundle.signers) == ("site", (ID,))
    assert {each.source: each.text for each in bundle.documents} == {
        f"site.claiim:{path}": TEXTS[path] for path in TEXTS
    }
    assert bundle.digest == hashlib.sha256(members()["manifest.json"]).hexdigest()
    assert sign(pack("site", dict(reversed(TEXTS.items())), "s"), KEY, "s") == SIGNED
    assert tar(members()) == SIGNED  # any tar reads it


def test_several_may_sign_and_one_known_key_is_enough() -> None:
    """A signature more makes nothing worse; a wrong one of a known key makes everything worse."""
    both = sign(SIGNED, OTHER, "s")
    assert verify(both, KEYS, "s").signers == (ID,)
    assert set(verify(both, {**KEYS, OTHER_ID: OTHER.public_key()}, "s").signers) == {ID, OTHER_ID}
    broken = tar({**members(both), f"signatures/{ID}": bytes(64)})
    with pytest.raises(PolicyError, match=f"the signature of {ID} is wrong"):
        verify(broken, {**KEYS, OTHER_ID: OTHER.public_key()}, "s")


_MANIFEST = json.loads(members()["manifest.json"])
_FIRST = "texts/no-prod.yaml"


def _link(info: tarfile.TarInfo) -> None:
    if info.name == _FIRST:
        info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0


def _without(name: str) -> dict[str, bytes]:
    return {each: content for each, content in members().items() if each != name}


ATTACKS: dict[str, tuple[bytes, str]] = {
    "not signed": (pack("site", TEXTS, "s"), "is not signed"),
    "signed by somebody else": (
        sign(pack("site", TEXTS, "s"), OTHER, "s"),
        f"is signed by {OTHER_ID}, which is none of",
    ),
    "another's signature under our name": (
        changed(f"signatures/{ID}", members(sign(pack("site", TEXTS, "s"), OTHER, "s"))[f"signatures/{OTHER_ID}"]),
        f"the signature of {ID} is wrong",
    ),
    "a signature over the manifest alone": (
        changed(f"signatures/{ID}", KEY.sign(members()["manifest.json"])),
        f"the signature of {ID} is wrong",
    ),
    "a signature of another length": (changed(f"signatures/{ID}", b"\1" * 63), f"the signature of {ID} is wrong"),
    "a text changed": (changed(_FIRST, b"policy: no-prod\nallow: ['**']\n"), 'text "no-prod.yaml" is not the one'),
    "a text emptied": (changed(_FIRST, b""), 'text "no-prod.yaml" is not the one that was signed'),
    "a text removed": (tar(_without(_FIRST)), 'text "no-prod.yaml" was signed and is missing'),
    "the manifest changed with it": (
        tar(
            {
                **_without(_FIRST),
                "manifest.json": members(pack("site", {k: v for k, v in TEXTS.items() if k != "no-prod.yaml"}, "s"))[
                    "manifest.json"
                ],
            }
        ),
        f"the signature of {ID} is wrong",
    ),
    "the manifest removed": (tar(_without("manifest.json")), "is not written as bundles are"),
    "a text added": (
        tar([*list(members().items())[:1], ("texts/a.yaml", b"skill: a\n"), *list(members().items())[1:]]),
        'text "a.yaml" was not signed',
    ),
    "a text twice": (
        tar([*list(members().items())[:2], (_FIRST, b"x"), *list(members().items())[2:]]),
        "is not written as bundles are",
    ),
    "another order": (tar(dict(reversed(members().items()))), "is not written as bundles are"),
    "something behind the end": (SIGNED + b"x", "is not written as bundles are"),
    "more zeros behind the end": (SIGNED + bytes(512), "is not written as bundles are"),
    "cut in a member": (SIGNED[:700], "is cut off"),
    "cut between members": (SIGNED[:1024], "is no bundle"),
    "no end": (SIGNED[:-1024], "is no bundle"),
    "nothing": (b"", "is no bundle"),
    "something else": (b"skill: deploy-v2\nallow: ['**']\n" * 100, "is no bundle"),
    "compressed": (gzip.compress(SIGNED), "is no bundle"),
    "a path out of it": (tar({**members(), "texts/../agents.yaml": b"x"}), 'member "texts/../agents.yaml" has a name'),
    "an absolute path": (tar({**members(), "/etc/x.yaml": b"x"}), 'member "/etc/x.yaml" has a name that no bundle'),
    "a hidden file": (tar({**members(), "texts/.x.yaml": b"x"}), 'member "texts/.x.yaml" has a name that no bundle'),
    "a file that is no text": (tar({**members(), "texts/x.py": b"x"}), 'member "texts/x.py" has a name that no bundle'),
    "a signature by no key": (tar({**members(), "signatures/../x": b"x"}), 'member "signatures/../x" has a name'),
    "a backslash": (tar({**members(), "texts/a\\b.yaml": b"x"}), "has a name that no bundle holds"),
    "a link": (tar(members(), _link), "holds something else than plain files"),
    "a folder": (
        tar(members(), lambda info: setattr(info, "type", tarfile.DIRTYPE) if info.name == _FIRST else None),
        "holds something else than plain files",
    ),
    "a device": (
        tar(members(), lambda info: setattr(info, "type", tarfile.CHRTYPE) if info.name == _FIRST else None),
        "holds something else than plain files",
    ),
    "an owner": (tar(members(), lambda info: setattr(info, "uid", 1)), "holds something else than plain files"),
    "a time": (tar(members(), lambda info: setattr(info, "mtime", 1)), "holds something else than plain files"),
    "a long name": (
        tar({**members(), "texts/" + "a" * 200 + ".yaml": b"x"}, kind=tarfile.PAX_FORMAT),
        "holds something else than plain files",
    ),
    "a text that is too large": (changed(_FIRST, b"#" * ((4 << 20) + 1)), "is larger than 4 MiB"),
    "a bundle that is too large": (bytes(MAX_BYTES + 1), "is larger than 32 MiB"),
    "a size that is not there": (
        SIGNED[:124] + b"77777777777" + SIGNED[135:148] + b"0" * 6 + SIGNED[154:],
        "is no bundle",
    ),
    "another format": (resigned({**_MANIFEST, "format": 2}), "has a manifest that this version cannot read"),
    "a manifest with more": (resigned({**_MANIFEST, "more": 1}), "has a manifest that this version cannot read"),
    "a manifest that says a name twice": (
        resigned(members()["manifest.json"].replace(b'"id"', b'"id":"other","id"')),
        "has a manifest that this version cannot read",
    ),
    "a manifest that is a list": (resigned([]), "has a manifest that this version cannot read"),
    "a manifest that is deep": (resigned(b"[" * 100_000), "has a manifest that this version cannot read"),
    "an id that is no name": (resigned({**_MANIFEST, "id": "../x"}), "has a manifest that this version cannot read"),
    "a text that is no YAML": (sign(pack("site", {"a.yaml": "a: [\n"}, "s"), KEY, "s"), "a.yaml:"),
}


@pytest.mark.parametrize(("data", "reason"), ATTACKS.values(), ids=ATTACKS)
def test_what_was_not_signed_so_is_refused(data: bytes, reason: str) -> None:
    """With its reason, whatever was done to it."""
    with pytest.raises(PolicyError) as refused:
        verify(data, KEYS, "site.claiim")
    assert str(refused.value).startswith("site.claiim:")
    assert reason in str(refused.value)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 255))
def test_no_byte_of_a_bundle_can_be_changed(at: int, by: int) -> None:
    """Padding and end included: every byte says something, and is looked at."""
    data = bytearray(SIGNED)
    data[at] ^= by
    with pytest.raises(PolicyError):
        verify(bytes(data), KEYS, "s")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000))
def test_whatever_it_is_it_is_read_or_refused(data: bytes) -> None:
    """Never another exception than the one with a place."""
    with pytest.raises(PolicyError):
        unpack(data, "s")


def test_a_bundle_that_is_not_whole_is_not_signed() -> None:
    """Else a signature would be given to what somebody changed on the way."""
    with pytest.raises(PolicyError, match="is not the one that was signed"):
        sign(tar({**members(pack("site", TEXTS, "s")), _FIRST: b"x"}), KEY, "s")


@pytest.mark.parametrize(
    "path", ["../x.yaml", "/x.yaml", "x.yml", ".x.yaml", "a b.yaml", "ä.yaml", "x" * 95 + ".yaml", ""]
)
def test_a_name_that_could_be_read_in_two_ways_is_not_packed(path: str) -> None:
    """Nor one that needs a second header."""
    with pytest.raises(PolicyError, match="cannot stand in a bundle"):
        pack("site", {path: "skill: a\n"}, "s")


def test_keys_are_read_in_pem_and_as_plain_base64() -> None:
    """And are the same key; anything else is no key, with its place."""
    public, raw = KEY.public_key(), base64.b64encode(KEY.public_key().public_bytes_raw())
    pem = public.public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
    assert key_id(read_public_key(pem, "k")) == key_id(read_public_key(raw + b"\n", "k")) == ID
    secret = KEY.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    for data in (secret, base64.b64encode(b"\x01" * 32)):
        assert key_id(read_private_key(data, "k").public_key()) == ID
    other = X25519PrivateKey.generate()
    wrong = other.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
    locked = KEY.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.BestAvailableEncryption(b"x"))
    for data in (b"", b"x", raw[:-4], wrong, secret, b"-----BEGIN PUBLIC KEY-----\nx"):
        with pytest.raises(PolicyError, match=r"^k:1:1: holds no public Ed25519 key"):
            read_public_key(data, "k")
    for data in (b"", pem, locked, base64.b64encode(b"x")):
        with pytest.raises(PolicyError, match=r"^k:1:1: holds no private Ed25519 key"):
            read_private_key(data, "k")
