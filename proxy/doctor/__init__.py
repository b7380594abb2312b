"""What an agent's environment lets out, tried from inside it: whether its calls pass the gate, and nothing else passes.

It makes calls that are refused or lead nowhere, and looks at what comes back. It changes nothing, believes no answer
that the Chron does not confirm, and cannot prove more than it tried: a place that is not reached may be down.
"""

from proxy.doctor.canary import Canary, GateAway
from proxy.doctor.egress import Place, probe_datagrams, probe_streams
from proxy.doctor.findings import Finding
from proxy.doctor.names import probe_names

__all__ = ["Canary", "Finding", "GateAway", "Place", "probe_datagrams", "probe_names", "probe_streams"]
