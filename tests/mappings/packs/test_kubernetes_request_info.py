"""The API server's own reading of a request, row by row, and what each verb is said to do."""

import pytest

from mappings import Request
from mappings.packs.kubernetes import PACK
from mappings.recognition import Call

# Method, path, then what the server makes of it: verb, group, version, namespace, resource, subresource, name
# (Kubernetes documentation, "API Concepts", "Resource URIs"; "Authorization Overview", "Determine the Request Verb").
READ = [
    ("GET", "/api/v1/namespaces", "list", "", "v1", "", "namespaces", "", ""),
    ("GET", "/api/v1/namespaces/other", "get", "", "v1", "other", "namespaces", "", "other"),
    ("PUT", "/api/v1/namespaces/other/finalize", "update", "", "v1", "other", "namespaces", "finalize", "other"),
    ("PATCH", "/api/v1/namespaces/other/status", "patch", "", "v1", "other", "namespaces", "status", "other"),
    ("GET", "/api/v1/namespaces/other/pods", "list", "", "v1", "other", "pods", "", ""),
    ("GET", "/api/v1/namespaces/other/pods/foo", "get", "", "v1", "other", "pods", "", "foo"),
    ("HEAD", "/api/v1/namespaces/other/pods/foo", "get", "", "v1", "other", "pods", "", "foo"),
    ("GET", "/api/v1/pods", "list", "", "v1", "", "pods", "", ""),
    ("HEAD", "/api/v1/pods", "list", "", "v1", "", "pods", "", ""),
    ("GET", "/api/v1/watch/pods", "watch", "", "v1", "", "pods", "", ""),
    ("GET", "/api/v1/watch/namespaces/other/pods", "watch", "", "v1", "other", "pods", "", ""),
    ("GET", "/api/v1/watch/namespaces/other/pods/foo", "watch", "", "v1", "other", "pods", "", "foo"),
    ("GET", "/api/v1/namespaces/other/pods/foo/status", "get", "", "v1", "other", "pods", "status", "foo"),
    ("POST", "/api/v1/namespaces/other/pods", "create", "", "v1", "other", "pods", "", ""),
    ("POST", "/api/v1/namespaces/other/pods/foo/binding", "create", "", "v1", "other", "pods", "binding", "foo"),
    ("PUT", "/api/v1/namespaces/other/pods/foo", "update", "", "v1", "other", "pods", "", "foo"),
    ("PATCH", "/api/v1/namespaces/other/pods/foo", "patch", "", "v1", "other", "pods", "", "foo"),
    ("DELETE", "/api/v1/namespaces/other/pods/foo", "delete", "", "v1", "other", "pods", "", "foo"),
    ("DELETE", "/api/v1/namespaces/other/pods", "deletecollection", "", "v1", "other", "pods", "", ""),
    ("DELETE", "/api/v1/nodes", "deletecollection", "", "v1", "", "nodes", "", ""),
    ("GET", "/api/v1/nodes/n1", "get", "", "v1", "", "nodes", "", "n1"),
    ("GET", "/apis/apps/v1/deployments", "list", "apps", "v1", "", "deployments", "", ""),
    ("GET", "/apis/apps/v1/namespaces/a/deployments/web", "get", "apps", "v1", "a", "deployments", "", "web"),
    (
        "PUT",
        "/apis/apps/v1/namespaces/a/deployments/web/scale",
        "update",
        "apps",
        "v1",
        "a",
        "deployments",
        "scale",
        "web",
    ),
    ("GET", "/apis/apps/v1/watch/deployments", "watch", "apps", "v1", "", "deployments", "", ""),
    ("GET", "/apis/x.acme.test/v1beta2/things/t", "get", "x.acme.test", "v1beta2", "", "things", "", "t"),
    ("GET", "/apis/x.acme.test/v1/namespaces", "list", "x.acme.test", "v1", "", "namespaces", "", ""),
    ("GET", "/api/v1/namespaces/a/pods/foo/log/more/of/it", "get", "", "v1", "a", "pods", "log", "foo"),
    # Tunnels are "execute" whatever the method; the server itself says get, create or the like.
    ("GET", "/api/v1/namespaces/a/pods/foo/exec", "execute", "", "v1", "a", "pods", "exec", "foo"),
    ("POST", "/api/v1/namespaces/a/pods/foo/attach", "execute", "", "v1", "a", "pods", "attach", "foo"),
    ("POST", "/api/v1/namespaces/a/pods/foo/portforward", "execute", "", "v1", "a", "pods", "portforward", "foo"),
    ("DELETE", "/api/v1/namespaces/a/services/web/proxy/x/y", "execute", "", "v1", "a", "services", "proxy", "web"),
    ("PUT", "/api/v1/proxy/namespaces/a/services/web/x/y", "execute", "", "v1", "a", "services", "proxy", "web"),
    ("GET", "/api/v1/proxy/nodes/n1/exec", "execute", "", "v1", "", "nodes", "proxy", "n1"),
]

NO_RESOURCE = [
    *(
        "/",
        "/api",
        "/api/v1",
        "/apis",
        "/apis/apps",
        "/apis/apps/v1",
        "/version",
        "/metrics",
        "/openapi/v2",
        "/healthz",
    ),
    *("/apix/v1/pods", "/Api/v1/pods/x", "/logs/x", "/.well-known/openid-configuration"),
]

# Method, path, query: access, executes, mints.
DOES = [
    ("GET", "/api/v1/namespaces/a/pods/x", "read", False, False),
    ("GET", "/api/v1/pods", "list", False, False),
    ("GET", "/api/v1/watch/pods", "list", False, False),
    ("GET", "/api/v1/namespaces/a/secrets/x", "read", False, True),
    ("GET", "/api/v1/secrets", "list", False, True),
    ("GET", "/api/v1/watch/secrets", "list", False, True),
    ("PUT", "/api/v1/namespaces/a/secrets/x", "write", False, False),
    ("GET", "/apis/x.acme.test/v1/secrets", "list", False, False),
    ("POST", "/api/v1/namespaces/a/serviceaccounts/x/token", "write", False, True),
    ("POST", "/api/v1/namespaces/a/serviceaccounts", "permissions", False, False),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", "permissions", False, False),
    ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles", "list", False, False),
    ("DELETE", "/apis/rbac.authorization.k8s.io/v1/clusterroles/x", "permissions", False, False),
    ("PUT", "/apis/certificates.k8s.io/v1/certificatesigningrequests/x/approval", "permissions", False, False),
    ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", "write", False, False),
    ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "read", False, False),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", "read", False, False),
    ("DELETE", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews/x", "write", False, False),
    ("GET", "/api/v1/namespaces/a/pods/x/exec", "write", True, False),
    ("GET", "/api/v1/namespaces/a/services/x/proxy", "write", True, False),
    ("PATCH", "/api/v1/namespaces/a/pods/x/ephemeralcontainers", "write", True, False),
    ("GET", "/api/v1/namespaces/a/pods/x/ephemeralcontainers", "read", False, False),
    ("GET", "/version", "read", False, False),
    ("POST", "/debug/flags/v", "write", False, False),
]


def _call(method: str, path: str) -> Call:
    (call,) = PACK.recognise(Request(method, "https", "k8s.acme.test", 443, path, (), (), b"")).calls
    return call


@pytest.mark.parametrize(
    ("method", "path", "verb", "group", "version", "namespace", "resource", "subresource", "name"),
    [pytest.param(*row, id=f"{row[0]} {row[1]}") for row in READ],
)
def test_a_path_is_read_as_the_server_reads_it(
    method: str,
    path: str,
    verb: str,
    group: str,
    version: str,
    namespace: str,
    resource: str,
    subresource: str,
    name: str,
) -> None:
    """Verb, group, version, namespace, resource, subresource and name are those of the API server."""
    call = _call(method, path)
    keys = ("verb", "group", "version", "namespace", "resource", "subresource", "name")
    wanted = (verb, group, version, namespace, resource, subresource, name)
    assert tuple(call.captures[key] for key in keys) == wanted
    assert call.name == f"kubernetes:{verb}:{'/'.join(filter(None, (group, resource, subresource)))}"


@pytest.mark.parametrize("path", NO_RESOURCE)
def test_a_shorter_or_other_path_is_no_resource(path: str) -> None:
    """What does not begin as a resource does, or ends before one, is named by its method alone."""
    assert _call("GET", path).name == "kubernetes:get:nonresource"


@pytest.mark.parametrize(
    ("method", "path", "access", "executes", "mints"), [pytest.param(*row, id=f"{row[0]} {row[1]}") for row in DOES]
)
def test_a_verb_says_what_it_does(method: str, path: str, access: str, executes: bool, mints: bool) -> None:
    """Access is never milder than the effect; what runs code or answers with a secret is marked so."""
    call = _call(method, path)
    assert (call.access, call.executes, call.mints) == (access, executes, mints)


def test_an_upgraded_read_is_no_read() -> None:
    """A connection that is upgraded carries anything, so it is neither a "get" nor a read."""
    path = "/apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/x/console"
    request = Request("GET", "https", "k8s.acme.test", 443, path, (), (("upgrade", "websocket"),), b"")
    (call,) = PACK.recognise(request).calls
    assert call.captures["verb"] == "execute"
    assert (call.access, call.executes) == ("write", True)
