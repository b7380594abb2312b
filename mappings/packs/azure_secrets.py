"""Which requests to Azure Resource Manager are answered with a key, a token or a password.

Providers are to tell secrets by POST alone, and by actions whose name begins with "list". Some do not, and those are
listed here one by one; a type that nobody listed is taken for an ordinary read, as Azure's own Reader role takes it.

    POST .../storageAccounts/a/listKeys              tells
    POST .../storageAccounts/a/regenerateKey         tells
    POST .../virtualMachines/vm/start                does not
    GET  .../databaseAccounts/a/readonlykeys         tells: listed
    GET  .../vaults/v/secrets/s                      does not: the resource without its value
"""

from collections.abc import Sequence

SECRET = ("key", "secret", "password", "credential", "token", "connectionstring", "publishxml", "sasu", "getaccess")
"""In an action's name: what the answer holds. Whatever begins with "list" holds some, too: resource providers are to
list secrets by POST alone (https://github.com/Azure/azure-resource-manager-rpc, "Resource API reference")."""

SECRETS_READ = frozenset({("admin", "token"), ("admin", "masterkey")})
"""Types and names that hold one although GET reads them (Microsoft.Web/sites/functions/admin/token/read)."""

SECRET_TYPES = frozenset(
    {
        "microsoft.automation/automationaccounts/agentregistrationinformation",
        "microsoft.containerservice/managedclusters/accessprofiles",
        "microsoft.documentdb/databaseaccounts/readonlykeys",
        "microsoft.hdinsight/clusters/configurations",
        "microsoft.network/connections/sharedkey",
        "microsoft.network/expressroutecircuits/authorizations",
        "microsoft.network/expressrouteports/authorizations",
        "microsoft.network/vpngateways/vpnconnections/vpnlinkconnections/sharedkeys",
        "microsoft.operationalinsights/workspaces/sharedkeys",
        "microsoft.web/sites/hybridconnection",
        "microsoft.web/sourcecontrols",
    }
)
"""Types whose GET answers with keys, tokens or passwords, in spite of what providers are to do (Azure REST API:
"Database Accounts - List Read Only Keys" until 2019, "Virtual Network Gateway Connections - Get Shared Key", "Express
Route Circuit Authorizations - Get", "Agent Registration Information - Get", "Configurations - Get", "Get Source
Control")."""

_LAST = frozenset(each.rpartition("/")[2] for each in SECRET_TYPES)
"""Their last words, which rule nearly every read out at once."""

SECRET_ACTIONS = frozenset(
    {
        *("configurations", "getgatewaysettings", "getdataplaneaccess", "generateuploaduri", "generateuri"),
        "retrievebootdiagnosticsdata",
    }
)
"""Actions whose answer is one although their name says nothing of it: HDInsight "Configurations - List" and "Get
Gateway Settings", Data Factory "Get Data Plane Access", DevTest Labs "Generate Upload Uri", Automation "Generate Uri",
Compute "Retrieve Boot Diagnostics Data"."""

OTHERWISE = ("delete", "purge", "remove", "revoke", "reset", "check", "validate")
"""How an action begins that takes or sets a secret, or asks about one, and does not tell it."""


def action_tells(action: str) -> bool:
    """Say whether an action, in lower case, is answered with a secret."""
    if action.startswith("list") or action in SECRET_ACTIONS:
        return True
    return not action.startswith(OTHERWISE) and any(word in action for word in SECRET)


def read_tells(method: str, namespace: str, types: Sequence[str], name: str) -> bool:
    """Say whether what is no action is answered with a secret; `name` is that of the last type, in lower case."""
    last = types[-1].lower()
    if (last, name) in SECRETS_READ:
        return True
    return last in _LAST and method in ("GET", "HEAD") and "/".join((namespace, *types)).lower() in SECRET_TYPES
