"""`claiim policy bundle`: skills and policies in one signed file, loaded only when the signature is right.

claiim policy bundle key release                                   release (0600, keep it) and release.pub
claiim policy bundle create policies -o site.claiim --key release
claiim policy bundle verify site.claiim --key release.pub
"""

import os
import tempfile
from pathlib import Path

import click

from mappings.documents import Fault
from policies import PolicyError
from policies.loading import documents_in
from policies.rulebook import Rulebook
from proxy.cli.options import (
    EXIT_DENY,
    EXIT_USAGE,
    fail,
    json_option,
    located_errors,
    print_json,
    read_input,
    refuse_gated_caller,
)
from proxy.config import why

_file = click.Path(dir_okay=False, path_type=Path)
_bundle = click.argument("bundle_file", metavar="FILE", type=_file)


@click.group()
def bundle() -> None:
    """Make, sign and verify bundles of skills and policies."""


@bundle.command()
@click.argument("name", metavar="NAME", type=_file)
@located_errors
def key(name: Path) -> None:
    """Make a key: NAME is the private one, NAME.pub the one to give to the gate."""
    refuse_gated_caller("claiim policy bundle")
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from policies.signingkeys import key_id

    made = Ed25519PrivateKey.generate()
    public = made.public_key()
    private_pem = made.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    public_pem = public.public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
    _create(name, private_pem, 0o600)
    _create(name.with_name(f"{name.name}.pub"), public_pem, 0o644)
    click.echo(key_id(public))


@bundle.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=_file, help="The file to write, e.g. site.claiim.")
@click.option("--key", "key_file", type=_file, help="Your private key.")
@click.option("--id", "id_", help="The bundle's name [default: the folder's].")
@json_option
@located_errors
def create(folder: Path, output: Path, key_file: Path | None, id_: str | None, as_json: bool) -> None:
    """Put the skills and policies of a folder into a bundle, and sign it when a key is given."""
    refuse_gated_caller("claiim policy bundle")
    from policies.bundles import pack, sign
    from policies.signingkeys import read_private_key

    data = pack(id_ or folder.resolve().name.lower(), _texts(folder), str(folder))
    if key_file is not None:
        data = sign(data, read_private_key(read_input(key_file), str(key_file)), str(output))
    _replace(output, data)
    _tell(data, output, as_json)


@bundle.command("sign")
@_bundle
@click.option("--key", "key_file", required=True, type=_file, help="Your private key.")
@json_option
@located_errors
def sign_command(bundle_file: Path, key_file: Path, as_json: bool) -> None:
    """Add a signature to a bundle."""
    refuse_gated_caller("claiim policy bundle")
    from policies.bundles import sign
    from policies.signingkeys import read_private_key

    data = sign(read_input(bundle_file), read_private_key(read_input(key_file), str(key_file)), str(bundle_file))
    _replace(bundle_file, data)
    _tell(data, bundle_file, as_json)


@bundle.command("verify")
@_bundle
@click.option("--key", "key_files", required=True, multiple=True, type=_file, help="A public key; may be repeated.")
@json_option
@located_errors
def verify_command(bundle_file: Path, key_files: tuple[Path, ...], as_json: bool) -> None:
    """Verify a bundle as a gate does: exit 0 when one of these keys signed it, else 1 with the reason."""
    from policies.bundles import verify
    from policies.signingkeys import key_id, read_public_key

    keys = {key_id(each): each for each in (read_public_key(read_input(path), str(path)) for path in key_files)}
    data = read_input(bundle_file)
    try:
        verified = verify(data, keys, str(bundle_file))
    except PolicyError as error:
        fail(str(error), EXIT_DENY)
    if as_json:
        texts = [document.source.removeprefix(f"{bundle_file}:") for document in verified.documents]
        signed = {"id": verified.id, "digest": verified.digest, "signed_by": list(verified.signers), "texts": texts}
        print_json(signed)
        return
    click.echo(f"{verified.id}  {len(verified.documents)} texts  signed by {', '.join(verified.signers)}")
    click.echo(f"sha256 {verified.digest}")


def _texts(folder: Path) -> dict[str, str]:
    """Return the texts of a folder by path; end with every fault when they would not load."""
    faults: list[Fault] = []
    documents = documents_in([folder], folder / "agents.yaml", faults)
    book = Rulebook({}, complete=not faults)
    for document in documents:
        book.add(document)
    book.finish()
    if faults or book.faults:
        raise PolicyError([*faults, *book.faults])
    if not documents:
        fail(f"{folder}: holds no skill and no policy", EXIT_USAGE)
    return {Path(each.source).relative_to(folder).as_posix(): each.text for each in documents}


def _tell(data: bytes, path: Path, as_json: bool) -> None:
    from policies.bundles import unpack

    contents = unpack(data, str(path))
    if as_json:
        print_json({"digest": contents.digest, "texts": list(contents.texts), "signed_by": list(contents.signatures)})
        return
    signed = f"signed by {', '.join(contents.signatures)}" if contents.signatures else "not signed"
    click.echo(f"{path}: {len(contents.texts)} texts, {signed}, sha256 {contents.digest}", err=True)


def _create(path: Path, data: bytes, mode: int) -> None:
    """Write a file that is not there yet, with this mode from its first moment."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
    except FileExistsError:
        fail(f"{path}: exists already; give another name", EXIT_USAGE)
    except OSError as error:
        fail(f"{path}: cannot write: {why(error)}", EXIT_USAGE)


def _replace(path: Path, data: bytes) -> None:
    """Put a file in place as a whole: a gate that reloads meanwhile reads the old one or the new one."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        fail(f"{path}: cannot write: {why(error)}", EXIT_USAGE)
