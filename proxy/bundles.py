"""Reading signed bundles of skills and policies from disk, by the keys that the configuration names.

policies: [site.claiim]
bundles: {keys: [release.pub], require: true}

policies: is loose, and "bundles.require" wants signed texts; put it into a bundle
site.claiim:1:1: is signed by 9f86d081884c7d65, which is none of the keys in "bundles.keys"
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mappings.documents import DocumentError, Fault, Place
from policies import Activations, PolicyError, Sources
from policies.loading import BUNDLE_SUFFIX
from proxy.config import Config, why

if TYPE_CHECKING:
    from policies.bundles import Bundle


def signed_sources(config: Config, activations: Activations | None = None) -> Sources:
    """Return the sources of skills and policies, bundles verified; raise PolicyError with every fault."""
    named = [path for path in config.policies if path.suffix == BUNDLE_SUFFIX]
    loose = [path for path in config.policies if path.suffix != BUNDLE_SUFFIX]
    faults: list[Fault] = []
    for path in loose if config.bundles.require else ():
        faults.append(_fault(path, 'is loose, and "bundles.require" wants signed texts; put it into a bundle'))
    bundles = _verified(named, config.bundles.keys, faults)
    if faults:
        raise PolicyError(faults)
    documents = [document for bundle in bundles for document in bundle.documents]
    return Sources(loose, documents, [str(bundle) for bundle in bundles], activations or Activations())


def _verified(paths: Iterable[Path], key_files: Iterable[Path], faults: list[Fault]) -> "list[Bundle]":
    bundles: list[Bundle] = []
    if not (paths := list(paths)):
        return bundles
    # Here, because most sites have no bundle and need not pay for the start of the cryptography.
    from policies.bundles import MAX_BYTES, verify
    from policies.signingkeys import key_id, read_public_key

    try:
        keys = {key_id(key): key for key in [read_public_key(_content(path, 4096), str(path)) for path in key_files]}
    except PolicyError as error:
        faults.extend(error.faults)
        return bundles
    for path in paths:
        try:
            bundles.append(verify(_content(path, MAX_BYTES), keys, str(path)))
        except DocumentError as error:
            faults.extend(error.faults)
    return bundles


def _content(path: Path, most_bytes: int) -> bytes:
    """Return what a file holds; of one that is too large, so much that it shows."""
    try:
        with path.open("rb") as file:
            return file.read(most_bytes + 1)
    except OSError as error:
        raise PolicyError([_fault(path, f"cannot be read: {why(error)}; check the path")]) from None


def _fault(path: Path, message: str) -> Fault:
    return Fault(Place(str(path), 1, 1), message)
