"""The operations of Argo CD's server: each service's methods, what they do, and the REST route beside the gRPC one.

Facts of the server's API description (argo-cd.readthedocs.io, "API Docs", and the server's own /swagger.json, version
3.2 and those before it back to 2.0). Access is the first letter of a word of `mappings.recognition.ACCESS`, ``x`` marks
what runs code, ``m`` what answers with a credential. REST routes stand below /api/v1.
"""

Row = tuple[str, ...]
"""Method, access letter, traits, then its REST routes."""

SERVICES: dict[str, tuple[Row, ...]] = {
    "application.ApplicationService": (
        ("List", "l", "", "GET /applications"),
        ("ListResourceEvents", "l", "", "GET /applications/{application}/events"),
        ("Watch", "l", "", "GET /stream/applications"),
        ("Create", "w", "", "POST /applications"),
        ("Get", "r", "", "GET /applications/{application}"),
        ("GetApplicationSyncWindows", "r", "", "GET /applications/{application}/syncwindows"),
        ("RevisionMetadata", "r", "", "GET /applications/{application}/revisions/{revision}/metadata"),
        ("RevisionChartDetails", "r", "", "GET /applications/{application}/revisions/{revision}/chartdetails"),
        ("GetOCIMetadata", "r", "", "GET /applications/{application}/revisions/{revision}/ocimetadata"),
        ("GetManifests", "r", "", "GET /applications/{application}/manifests"),
        ("GetManifestsWithFiles", "r", "", "POST /applications/manifestsWithFiles"),
        ("Update", "w", "", "PUT /applications/{application}"),
        ("UpdateSpec", "w", "", "PUT /applications/{application}/spec"),
        ("Patch", "w", "", "PATCH /applications/{application}"),
        ("Delete", "w", "", "DELETE /applications/{application}"),
        # What is carried out stands in a repository.
        ("Sync", "w", "x", "POST /applications/{application}/sync"),
        ("ManagedResources", "r", "", "GET /applications/{application}/managed-resources"),
        ("ServerSideDiff", "r", "", "GET /applications/{application}/server-side-diff"),
        ("ResourceTree", "r", "", "GET /applications/{application}/resource-tree"),
        ("WatchResourceTree", "r", "", "GET /stream/applications/{application}/resource-tree"),
        ("Rollback", "w", "x", "POST /applications/{application}/rollback"),
        ("TerminateOperation", "w", "", "DELETE /applications/{application}/operation"),
        ("GetResource", "r", "", "GET /applications/{application}/resource"),
        ("PatchResource", "w", "", "POST /applications/{application}/resource"),
        ("ListResourceActions", "l", "", "GET /applications/{application}/resource/actions"),
        # The actions are scripts in Lua.
        ("RunResourceAction", "w", "x", "POST /applications/{application}/resource/actions"),
        ("RunResourceActionV2", "w", "x", "POST /applications/{application}/resource/actions/v2"),
        ("DeleteResource", "w", "", "DELETE /applications/{application}/resource"),
        (
            *("PodLogs", "r", ""),
            *("GET /applications/{application}/logs", "GET /applications/{application}/pods/{pod}/logs"),
        ),
        ("ListLinks", "l", "", "GET /applications/{application}/links"),
        ("ListResourceLinks", "l", "", "GET /applications/{application}/resource/links"),
    ),
    "applicationset.ApplicationSetService": (
        ("List", "l", "", "GET /applicationsets"),
        ("Get", "r", "", "GET /applicationsets/{applicationset}"),
        ("Create", "w", "", "POST /applicationsets"),
        ("Delete", "w", "", "DELETE /applicationsets/{applicationset}"),
        ("Generate", "r", "", "POST /applicationsets/generate"),
        ("ResourceTree", "r", "", "GET /applicationsets/{applicationset}/resource-tree"),
        ("ListResourceEvents", "l", "", "GET /applicationsets/{applicationset}/events"),
        ("Watch", "l", "", "GET /stream/applicationsets"),
    ),
    "project.ProjectService": (
        ("List", "l", "", "GET /projects"),
        ("Create", "p", "", "POST /projects"),
        ("Get", "r", "", "GET /projects/{project}"),
        ("GetDetailedProject", "r", "", "GET /projects/{project}/detailed"),
        ("GetGlobalProjects", "r", "", "GET /projects/{project}/globalprojects"),
        ("GetSyncWindowsState", "r", "", "GET /projects/{project}/syncwindows"),
        ("ListEvents", "l", "", "GET /projects/{project}/events"),
        ("ListLinks", "l", "", "GET /projects/{project}/links"),
        ("Update", "p", "", "PUT /projects/{project}"),
        ("Delete", "p", "", "DELETE /projects/{project}"),
        ("CreateToken", "p", "m", "POST /projects/{project}/roles/{role}/token"),
        ("DeleteToken", "p", "", "DELETE /projects/{project}/roles/{role}/token/{iat}"),
    ),
    "cluster.ClusterService": (
        ("List", "l", "", "GET /clusters"),
        ("Create", "p", "", "POST /clusters"),
        ("Get", "r", "", "GET /clusters/{cluster_id+}"),
        ("Update", "p", "", "PUT /clusters/{cluster_id+}"),
        ("Delete", "w", "", "DELETE /clusters/{cluster_id+}"),
        ("RotateAuth", "p", "", "POST /clusters/{cluster_id+}/rotate-auth"),
        ("InvalidateCache", "w", "", "POST /clusters/{cluster_id+}/invalidate-cache"),
    ),
    "cluster.SettingsService": (
        ("Get", "r", "", "GET /settings"),
        ("GetPlugins", "l", "", "GET /settings/plugins"),
    ),
    "repository.RepositoryService": (
        # Deprecated twins, whose REST routes are those of the newer names.
        ("List", "l", ""),
        ("Create", "p", ""),
        ("Update", "p", ""),
        ("Delete", "p", ""),
        ("ListRepositories", "l", "", "GET /repositories"),
        ("Get", "r", "", "GET /repositories/{repository+}"),
        ("ListRefs", "l", "", "GET /repositories/{repository+}/refs"),
        ("ListOCITags", "l", "", "GET /repositories/{repository+}/oci-tags"),
        ("ListApps", "l", "", "GET /repositories/{repository+}/apps"),
        ("GetHelmCharts", "l", "", "GET /repositories/{repository+}/helmcharts"),
        ("GetAppDetails", "r", "", "POST /repositories/{repository+}/appdetails"),
        ("CreateRepository", "p", "", "POST /repositories"),
        ("UpdateRepository", "p", "", "PUT /repositories/{repository+}"),
        ("DeleteRepository", "p", "", "DELETE /repositories/{repository+}"),
        ("ValidateAccess", "r", "", "POST /repositories/{repository+}/validate"),
        ("ListWriteRepositories", "l", "", "GET /write-repositories"),
        ("GetWrite", "r", "", "GET /write-repositories/{repository+}"),
        ("CreateWriteRepository", "p", "", "POST /write-repositories"),
        ("UpdateWriteRepository", "p", "", "PUT /write-repositories/{repository+}"),
        ("DeleteWriteRepository", "p", "", "DELETE /write-repositories/{repository+}"),
        ("ValidateWriteAccess", "r", "", "POST /write-repositories/{repository+}/validate"),
    ),
    "repocreds.RepoCredsService": (
        ("ListRepositoryCredentials", "l", "", "GET /repocreds"),
        ("CreateRepositoryCredentials", "p", "", "POST /repocreds"),
        ("UpdateRepositoryCredentials", "p", "", "PUT /repocreds/{url+}"),
        ("DeleteRepositoryCredentials", "p", "", "DELETE /repocreds/{url+}"),
        ("ListWriteRepositoryCredentials", "l", "", "GET /write-repocreds"),
        ("CreateWriteRepositoryCredentials", "p", "", "POST /write-repocreds"),
        ("UpdateWriteRepositoryCredentials", "p", "", "PUT /write-repocreds/{url+}"),
        ("DeleteWriteRepositoryCredentials", "p", "", "DELETE /write-repocreds/{url+}"),
    ),
    "certificate.CertificateService": (
        ("ListCertificates", "l", "", "GET /certificates"),
        ("CreateCertificate", "p", "", "POST /certificates"),
        ("DeleteCertificate", "p", "", "DELETE /certificates"),
    ),
    "gpgkey.GPGKeyService": (
        ("List", "l", "", "GET /gpgkeys"),
        ("Get", "r", "", "GET /gpgkeys/{key_id}"),
        ("Create", "p", "", "POST /gpgkeys"),
        ("Delete", "p", "", "DELETE /gpgkeys"),
    ),
    "session.SessionService": (
        ("GetUserInfo", "r", "", "GET /session/userinfo"),
        ("Create", "w", "m", "POST /session"),
        ("Delete", "w", "", "DELETE /session"),
    ),
    "account.AccountService": (
        ("CanI", "r", "", "GET /account/can-i/{resource}/{action}/{subresource+}"),
        ("UpdatePassword", "p", "", "PUT /account/password"),
        ("ListAccounts", "l", "", "GET /account"),
        ("GetAccount", "r", "", "GET /account/{account_name}"),
        ("CreateToken", "p", "m", "POST /account/{account_name}/token"),
        ("DeleteToken", "p", "", "DELETE /account/{account_name}/token/{token_id}"),
    ),
    "notification.NotificationService": (
        ("ListTriggers", "l", "", "GET /notifications/triggers"),
        ("ListServices", "l", "", "GET /notifications/services"),
        ("ListTemplates", "l", "", "GET /notifications/templates"),
    ),
    "version.VersionService": (("Version", "r", ""),),
}
"""Rows by full name of the service."""

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

BESIDE: tuple[Row, ...] = (
    ("VersionService_Version", "r", "", "GET /api/version"),
    ("healthz", "r", "", "GET /healthz"),
    ("badge", "r", "", "GET /api/badge"),
    ("swagger", "r", "", "GET /swagger.json"),
    # Anybody may send one; it makes the server look at its repositories.
    ("webhook", "w", "", "POST /api/webhook"),
    ("login", "r", "", "GET /auth/login"),
    ("callback", "w", "m", "GET /auth/callback"),
    # A shell in a pod, over a websocket.
    ("terminal", "w", "x", "GET /terminal"),
    # Whatever server stands behind a proxy extension, and the server that signs users in.
    ("extension", "w", "x", *(f"{method} /extensions/{{extension}}/{{rest+}}" for method in METHODS)),
    ("dex", "w", "m", *(f"{method} /api/dex/{{rest+}}" for method in METHODS)),
)
"""What the server answers beside its services (argo-cd.readthedocs.io, "Web-based Terminal", "Proxy Extensions")."""
