"""Verify a claiim Chron, or a proof of one of its records, without claiim. Needs Python 3.10 and "cryptography".

    python verify.py chron.db --key VKEY [--head NOTE-FILE] [--from NOTE-FILE]
    python verify.py --proof RECORD.tlog-proof --key VKEY

VKEY is what "claiim chron key show" prints; get it by another way than the log. NOTE-FILE holds a checkpoint that you
kept: --head the newest, which shows that nothing was cut off; --from an older one, which shows that its records are as
they were. Exit: 0 good, 1 not good, 2 usage, 11 good but records at the end are not covered.

This file shares no code with what writes the log. Formats: RFC 6962 section 2.1, c2sp.org/signed-note, tlog-checkpoint
and tlog-proof; leaf = SHA-256(0x00 || body), hash = SHA-256(hash before || leaf), and before the first record
SHA-256("chron/v1\\n" || origin). A body may be gone under a record that says so. ML-DSA lines are not looked at.
"""

import argparse
import base64
import hashlib
import json
import re
import sqlite3
import sys
from functools import reduce
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def require(good: bool, what: str) -> None:
    if not good:
        raise ValueError(what)


def decode(text: str) -> bytes:
    require(base64.b64encode(data := base64.b64decode(text, validate=True)).decode() == text, "not proper base64")
    return data


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def read_key(vkey: str) -> tuple[str, bytes, Ed25519PublicKey]:
    """Name, id and key of `<name>+<id>+<base64>`."""
    name, id_, material = vkey.strip().split("+", 2)
    raw = decode(material)
    require(raw[0] == 1 and len(raw) == 33, "the key is not an Ed25519 key")
    require(sha256(name.encode(), b"\n", raw)[:4].hex() == id_, "the key's id is not that of the key")
    return name, bytes.fromhex(id_), Ed25519PublicKey.from_public_bytes(raw[1:])


def signed_text(note: str, vkeys: list[str], must: bool = True) -> str:
    """The text of a note that one of these keys signed, or must; a signature that does not fit spoils all."""
    text, _, lines = note.rpartition("\n\n")
    keys = {(name, id_): key for name, id_, key in map(read_key, vkeys)}
    proper = re.fullmatch("(\u2014 [^\\s+\\0-\\x1f]{1,255} [A-Za-z0-9+/]{7,}=?=?\n){1,16}", lines)
    found = [(name, decode(data)) for _, name, data in (line.split(" ") for line in lines.splitlines())]
    ours = [(keys[name, data[:4]], data[4:]) for name, data in found if (name, data[:4]) in keys]
    require(proper is not None and (bool(ours) or not must), "not signed by the key")
    for key, signature in ours:
        try:
            key.verify(signature, (text + "\n").encode())
        except InvalidSignature:
            raise ValueError("the signature does not fit the text") from None
    return text + "\n" if ours else ""


def read_checkpoint(text: str) -> tuple[str, int, bytes]:
    name, size, root, end = text.split("\n")  # of the log, number of records
    require(end == "" and str(abs(int(size))) == size, "not a checkpoint")
    return name, int(size), decode(root)


class Log:
    def __init__(self, pinned: str, kept: dict[str, tuple[str, int, bytes]]) -> None:
        self.pinned, self.kept = pinned, kept
        self.seq, self.covered, self.hash, self.name, self.trusted = 0, 0, b"", "", not pinned
        self.keys: list[str] = []  # all that were ever made known; the last one signs
        self.counting = [pinned] if pinned else self.keys  # those whose word counts
        self.checkpoints, self.gone, self.peaks = list[int](), list[int](), list[bytes]()  # gone: without a body
        self.reasons: list[tuple[int, int, set[str]]] = []  # first and last of those that may be so, but for some

    def read(self, seq: int, id_: str, body: bytes | None, leaf: bytes, hash_: bytes) -> None:
        require(seq == self.seq + 1, "it is missing")
        require(body is None or sha256(b"\x00", body) == leaf, "its body was changed")
        fields = json.loads(body or json.dumps({"seq": seq, "id": id_, "kind": ""}))
        self.gone += [seq] * (body is None)
        if seq == 1:
            self.hash = sha256(b"chron/v1\n", fields["origin"].encode())
            self.name = f"{fields['origin']}/{id_}"
        require(sha256(self.hash, leaf) == hash_, "it does not follow the record before it")
        require((fields["seq"], fields["id"]) == (seq, id_), "its columns do not say what its body says")
        if fields["kind"] == "key":
            self.read_key_record(fields)
        if fields["kind"] == "checkpoint":
            said = read_checkpoint(signed_text(fields["note"], self.keys[-1:]))
            require(said == (self.name, self.seq, self.root()), "its checkpoint is over other records")
            self.checkpoints.append(seq)
            self.covered = self.seq if self.trusted else self.covered
        if fields["kind"] in ("erasure", "archive", "prune"):
            self.reasons.append((fields["first"], fields["last"], set(fields["kept"].split(","))))
        self.peaks.append(leaf)
        for _ in range((seq & -seq).bit_length() - 1):  # perfect subtrees of one size become one
            self.peaks[-2:] = [sha256(b"\x01", *self.peaks[-2:])]
        self.seq, self.hash = seq, hash_
        for what, (_, size, root) in self.kept.items():
            require(size != seq or root == self.root(), f"the first {size} records are not those of {what}")

    def root(self) -> bytes:
        return reduce(lambda root, peak: sha256(b"\x01", peak, root), reversed(self.peaks))

    def read_key_record(self, fields: dict[str, str]) -> None:
        event, vkey, second = fields["event"], fields["vkey"], fields.get("vkey_second", "-")
        text = f"claiim chron key v1\n{self.name}\n{event}\n{vkey}\n{second}\n"
        require(event in (("rotated", "replaced") if self.keys else ("created",)), "such a key cannot come here")
        for signer in [vkey, *self.keys[-1:]] if event == "rotated" else [vkey]:
            require(signed_text(fields["note"], [signer]) == text, "its note says something else")
        self.trusted = not self.pinned or vkey == self.pinned or (self.trusted and event == "rotated")
        self.keys.append(vkey)
        self.counting += [vkey] * (self.trusted and self.counting is not self.keys)


def verify_log(path: str, key: str, notes: dict[str, str]) -> tuple[int, str]:
    kept = {what: read_checkpoint(note.rpartition("\n\n")[0] + "\n") for what, note in notes.items()}
    log = Log(key, kept)
    database = sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True)
    try:
        for row in database.execute("SELECT seq, id, CAST(body AS BLOB), leaf, hash FROM chron ORDER BY seq"):
            log.read(*row)
        for seq in log.gone:
            said = any(first <= seq <= last and str(seq) not in stay for first, last, stay in log.reasons)
            require(said, f"the body of record {seq} is gone, and no record says why")
        texts = "SELECT a.seq, a.text, c.body FROM artefact a LEFT JOIN chron c USING (seq)"
        for seq, text, body in database.execute(texts).fetchall():
            good = json.loads(body or "{}").get("sha256") == sha256(text.encode()).hex()
            require(good, f"the text kept under record {seq} was changed")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, sqlite3.DatabaseError) as error:
        return 1, f"not good: record {log.seq + 1}: {error}; the {log.seq} records before it hold"
    covered, good = log.covered, log.covered > 0 or not key
    for what, (name, size, _) in kept.items():
        require(name == log.name, f"{what} is of log {name}, this is {log.name}")
        require(size <= log.seq, f"records are missing at the end: {what} covers {size}, there are {log.seq}")
        signed_text(notes[what], [*log.counting, *log.keys])
        counts = bool(signed_text(notes[what], log.counting, must=False))
        good = good or counts
        covered = (size if counts else min(size, covered)) if what == "--head" else covered
    require(good, "no checkpoint is signed by the key")
    loose = log.seq - covered - sum(seq > covered for seq in log.checkpoints)
    told = f"good: {log.seq} records of {log.name}, {covered} covered by a checkpoint that counts, {loose} behind it"
    return (11 if loose else 0), told + (f", {len(log.gone)} without a body" if log.gone else "")


def verify_proof(text: str, key: str) -> tuple[int, str]:
    head, _, note = text.partition("\n\n")
    first, extra, index_line, *hashes = head.split("\n")
    proper = extra[:6] == "extra " and re.fullmatch("index (0|[1-9][0-9]{,15})", index_line)
    require(first == "c2sp.org/tlog-proof@v1" and bool(proper), "not a proof")
    body, index = decode(extra[6:]), int(index_line[6:])
    _, size, root = read_checkpoint(signed_text(note, [key]))
    node, last, here = sha256(b"\x00", body), size - 1, index
    for sibling in (decode(line) for line in hashes):
        require(last > 0, "too many hashes")
        if here % 2 or here == last:
            node = sha256(b"\x01", sibling, node)
            while here % 2 == 0 and here:
                here, last = here // 2, last // 2
        else:
            node = sha256(b"\x01", node, sibling)
        here, last = here // 2, last // 2
    require(0 <= index < size and last == 0 and node == root, "the record is not in the log that was signed")
    require(json.loads(body)["seq"] == index + 1, "the record says another place")
    return 0, f"good: record {index + 1} of {size}: {body.decode()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("chron", nargs="?", help="the log, a SQLite file")
    for name in ("key", "head", "from", "proof"):
        parser.add_argument(f"--{name}", default="", metavar="VKEY" if name == "key" else "FILE")
    given = vars(parser.parse_args())
    if bool(given["chron"]) == bool(given["proof"]) or (given["proof"] and not given["key"]):
        parser.error("give a log, or --proof FILE with --key")
    try:
        read = {name: Path(given[name]).read_bytes().decode() for name in ("head", "from", "proof") if given[name]}
        Path(given["chron"] or given["proof"]).open("rb").close()
    except (OSError, ValueError) as error:
        parser.error(str(error))
    notes = {f"--{name}": text for name, text in read.items() if name != "proof"}
    try:
        proved = verify_proof(read["proof"], given["key"]) if given["proof"] else None
        code, told = proved or verify_log(given["chron"], given["key"], notes)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        code, told = 1, f"not good: {error}"
    print(told)
    return code


if __name__ == "__main__":
    sys.exit(main())
