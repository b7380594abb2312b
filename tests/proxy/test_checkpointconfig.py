"""The section `checkpoints` of claiim.yaml: what it means, and every fault with its place."""

from pathlib import Path

import pytest

from proxy.checkpointconfig import AnchorConfig
from proxy.config import Config, ConfigError
from proxy.configloading import compile_config

FOLDER = Path("/site")


def config(section: str) -> Config:
    return compile_config(f"version: 1\n{section}", "claiim.yaml", FOLDER, None, {})


def test_without_a_section_there_are_checkpoints_and_no_anchors() -> None:
    """The key is beside the CA; nothing outside is asked for."""
    found = config("state: var\n").checkpoints
    assert (found.key, found.ml_dsa_key) == (FOLDER / "var/chron-key.pem", None)
    assert (found.every_records, found.every_s, found.anchors, found.require) == (1000, 60, (), 0)


def test_all_of_a_section() -> None:
    """Paths are relative to the file; one anchor is required unless another number is given."""
    section = """checkpoints:
  key: /etc/claiim/key.pem
  ml_dsa_key: second.pem
  every_records: 10
  every_s: 5
  anchors:
  - {file: notes}
  - {syslog: "udp://[::1]:514"}
  - {syslog: "unix:/dev/log"}
  - {http: "https://s3.acme.test/claiim/", headers_file: h, credentials_file: c, lock_days: 400}
"""
    found = config(section).checkpoints
    assert (found.key, found.ml_dsa_key) == (Path("/etc/claiim/key.pem"), FOLDER / "second.pem")
    assert (found.every_records, found.every_s, found.require) == (10, 5, 1)
    assert found.anchors == (
        AnchorConfig("file", "/site/notes"),
        AnchorConfig("syslog", "udp://[::1]:514"),
        AnchorConfig("syslog", "unix:/dev/log"),
        AnchorConfig("http", "https://s3.acme.test/claiim", FOLDER / "h", FOLDER / "c", 400),
    )
    assert config(section + "  require: 0\n").checkpoints.require == 0


FAULTS = {
    "no kind": ("anchors: [{lock_days: 1}]", '3:13: give exactly one of "file", "syslog" and "http"'),
    "two kinds": ('anchors: [{file: a, syslog: "unix:/x"}]', "give exactly one of"),
    "a lock on a file": ("anchors: [{file: a, lock_days: 1}]", 'and "lock_days" belong to "http"'),
    "a syslog by TCP": ('anchors: [{syslog: "tcp://a:1"}]', '"tcp://a:1" is not a syslog; write "udp://logs'),
    "a port that is none": ('anchors: [{syslog: "udp://a:70000"}]', "is not a syslog"),
    "a URL with a query": ('anchors: [{http: "https://a/b?c"}]', '"https://a/b?c" is not a web address; write'),
    "more required than there are": ("{anchors: [{file: a}], require: 2}", '"require" is 2, and there are 1 anchors'),
    "never": ("every_s: 0", "3:12: "),
    "unknown": ("every: 1", 'unknown key "every"'),
}


@pytest.mark.parametrize(("section", "fault"), FAULTS.values(), ids=FAULTS)
def test_faults_are_told_with_their_place(section: str, fault: str) -> None:
    """File, line and column, and what to write."""
    with pytest.raises(ConfigError) as caught:
        config(f"checkpoints:\n  {section}\n")
    assert fault in str(caught.value)
    assert str(caught.value).startswith("claiim.yaml:")
