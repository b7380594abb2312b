"""The paths of Vault's HTTP API: what each capability means there, by engine.

Facts of the API reference (https://developer.hashicorp.com/vault/api-docs, "System Backend", "Auth Methods", "Secrets
Engines", "Identity"), at the mounts its own examples use. A line is ``CAPABILITIES PATH [TRAITS]``:

    r read (GET), l list, u update (POST and PUT, which the server tells apart only by what is there), p patch, d delete
    m the answer holds a secret or a credential, x runs code, a changes who may do what

A path is written once for each set of capabilities that share traits. The name of an operation is the capability,
the engine and the fixed words of the path, so two lines that differ only in names of parameters are one operation.
"""

SYS = """
rl  /audit
ud  /audit/{path+} a
u   /audit-hash/{path+}
rl  /auth
r   /auth/{path+}
ud  /auth/{path+} a
r   /auth/{path+}/tune
u   /auth/{path+}/tune a
u   /capabilities
u   /capabilities-accessor
u   /capabilities-self
r   /config/auditing/request-headers
r   /config/auditing/request-headers/{name}
ud  /config/auditing/request-headers/{name} a
r   /config/control-group
ud  /config/control-group a
r   /config/cors
ud  /config/cors a
r   /config/group-policy-application
u   /config/group-policy-application a
u   /config/reload/{subsystem}
r   /config/state/sanitized
l   /config/ui/headers
r   /config/ui/headers/{name}
ud  /config/ui/headers/{name}
u   /control-group/authorize a
u   /control-group/request
u   /decode-token m
r   /experiments
rd  /generate-root/attempt
u   /generate-root/attempt m
u   /generate-root/update m
r   /ha-status
r   /health
r   /host-info
r   /in-flight-req
r   /init
u   /init m
r   /internal/counters/activity
r   /internal/counters/activity/monthly
r   /internal/counters/config
u   /internal/counters/config
r   /internal/counters/entities
r   /internal/counters/requests
r   /internal/counters/tokens
r   /internal/specs/openapi
u   /internal/specs/openapi
r   /internal/ui/mounts
r   /internal/ui/mounts/{path+}
r   /internal/ui/namespaces
r   /internal/ui/resultant-acl
r   /key-status
r   /leader
u   /leases
l   /leases
r   /leases/count
u   /leases/lookup
l   /leases/lookup
l   /leases/lookup/{prefix+}
u   /leases/renew
u   /leases/renew/{lease+}
u   /leases/revoke
u   /leases/revoke/{lease+}
u   /leases/revoke-force/{prefix+}
u   /leases/revoke-prefix/{prefix+}
u   /leases/tidy
u   /renew
u   /renew/{lease+}
u   /revoke
u   /revoke/{lease+}
u   /revoke-force/{prefix+}
u   /revoke-prefix/{prefix+}
r   /license/status
r   /locked-users
u   /locked-users/{mount}/unlock/{alias} a
rud /loggers
rud /loggers/{name}
u   /managed-keys/{type}/{name} a
d   /managed-keys/{type}/{name}
r   /managed-keys/{type}/{name}
l   /managed-keys/{type}
u   /managed-keys/{type}/{name}/test/sign
r   /metrics
ud  /mfa/method/{type}/{name} a
r   /mfa/method/{type}/{name}
u   /mfa/method/{type}/{name}/generate m
u   /mfa/method/{type}/{name}/admin-generate m
u   /mfa/method/{type}/{name}/admin-destroy a
u   /mfa/validate m
r   /monitor
r   /mounts
r   /mounts/{path+}
u   /mounts/{path+}
d   /mounts/{path+}
r   /mounts/{path+}/tune
u   /mounts/{path+}/tune a
l   /namespaces
r   /namespaces/{path+}
up  /namespaces/{path+}
d   /namespaces/{path+}
u   /namespaces/api-lock/lock
u   /namespaces/api-lock/unlock a
u   /namespaces/api-lock/lock/{path+}
u   /namespaces/api-lock/unlock/{path+} a
rl  /plugins/catalog
rl  /plugins/catalog/{type}
r   /plugins/catalog/{type}/{name}
u   /plugins/catalog/{type}/{name} x
d   /plugins/catalog/{type}/{name}
rl  /plugins/pins
r   /plugins/pins/{type}/{name}
u   /plugins/pins/{type}/{name} x
d   /plugins/pins/{type}/{name}
u   /plugins/reload/{type}/{name} x
u   /plugins/reload/backend x
r   /plugins/reload/backend/status
r   /plugins/runtimes/catalog/{type}/{name}
u   /plugins/runtimes/catalog/{type}/{name} x
d   /plugins/runtimes/catalog/{type}/{name}
rl  /plugins/runtimes/catalog
rl  /policies/acl
r   /policies/acl/{name}
ud  /policies/acl/{name} a
rl  /policies/egp
r   /policies/egp/{name}
ud  /policies/egp/{name} a
rl  /policies/rgp
r   /policies/rgp/{name}
ud  /policies/rgp/{name} a
l   /policies/password
r   /policies/password/{name}
ud  /policies/password/{name} a
r   /policies/password/{name}/generate m
rl  /policy
r   /policy/{name}
ud  /policy/{name} a
r   /pprof
r   /pprof/{profile}
u   /quotas/config a
r   /quotas/config
l   /quotas/lease-count
r   /quotas/lease-count/{name}
ud  /quotas/lease-count/{name} a
l   /quotas/rate-limit
r   /quotas/rate-limit/{name}
ud  /quotas/rate-limit/{name} a
r   /raw/{path+} m
l   /raw
l   /raw/{path+}
ud  /raw/{path+} a
rd  /rekey/backup m
rd  /rekey/recovery-key-backup m
rd  /rekey-recovery-key/backup m
rd  /rekey/init
u   /rekey/init a
u   /rekey/update m
rd  /rekey/verify
u   /rekey/verify a
rd  /rekey-recovery-key/init
u   /rekey-recovery-key/init a
u   /rekey-recovery-key/update m
rd  /rekey-recovery-key/verify
u   /rekey-recovery-key/verify a
u   /remount
r   /remount/status/{id}
r   /replication/status
r   /replication/{kind}/status
u   /replication/dr/primary/{action}
u   /replication/dr/primary/secondary-token m
u   /replication/dr/secondary/{action}
u   /replication/performance/primary/{action}
u   /replication/performance/primary/secondary-token m
u   /replication/performance/secondary/{action}
u   /replication/recover
u   /replication/reindex
u   /rotate
u   /rotate/config
r   /rotate/config
u   /seal
r   /seal-status
r   /sealwrap/rewrap
u   /sealwrap/rewrap
u   /step-down
r   /storage/raft/autopilot/configuration
u   /storage/raft/autopilot/configuration
r   /storage/raft/autopilot/state
u   /storage/raft/bootstrap
u   /storage/raft/bootstrap/answer
u   /storage/raft/bootstrap/challenge
r   /storage/raft/configuration
u   /storage/raft/join
u   /storage/raft/remove-peer
r   /storage/raft/snapshot m
u   /storage/raft/snapshot
u   /storage/raft/snapshot-force
l   /storage/raft/snapshot-auto/config
r   /storage/raft/snapshot-auto/config/{name}
u   /storage/raft/snapshot-auto/config/{name}
d   /storage/raft/snapshot-auto/config/{name}
r   /storage/raft/snapshot-auto/status/{name}
u   /tools/hash
u   /tools/hash/{algorithm}
u   /tools/random
u   /tools/random/{bytes}
u   /tools/random/{source}/{bytes}
u   /unseal
r   /version-history
l   /version-history
u   /wrapping/lookup
r   /wrapping/lookup
u   /wrapping/rewrap m
u   /wrapping/unwrap m
u   /wrapping/wrap m
"""

AUTH = """
u   /login m
u   /login/{name} m
u   /oidc/auth_url
ru  /oidc/callback m
u   /oidc/poll m
rl  /config
r   /config/client
ud  /config a
ud  /config/client a
u   /config/rotate-root a
l   /config/certificates
r   /config/certificate/{name}
ud  /config/certificate/{name} a
r   /config/identity
u   /config/identity a
l   /config/sts
r   /config/sts/{name}
ud  /config/sts/{name} a
r   /config/tidy/identity-whitelist
ud  /config/tidy/identity-whitelist a
r   /config/tidy/identity-accesslist
ud  /config/tidy/identity-accesslist a
r   /config/tidy/roletag-blacklist
ud  /config/tidy/roletag-blacklist a
r   /config/tidy/roletag-denylist
ud  /config/tidy/roletag-denylist a
u   /tidy/identity-whitelist
u   /tidy/identity-accesslist
u   /tidy/roletag-blacklist
u   /tidy/roletag-denylist
u   /tidy/secret-id
u   /tidy
l   /identity-whitelist
r   /identity-whitelist/{name}
d   /identity-whitelist/{name} a
l   /identity-accesslist
r   /identity-accesslist/{name}
d   /identity-accesslist/{name} a
l   /roletag-blacklist
r   /roletag-blacklist/{name}
ud  /roletag-blacklist/{name} a
l   /roletag-denylist
r   /roletag-denylist/{name}
ud  /roletag-denylist/{name} a
l   /role
r   /role/{name}
upd /role/{name} a
l   /roles
r   /roles/{name}
upd /roles/{name} a
u   /role/{name}/tag m
u   /role/{name}/service-accounts a
u   /role/{name}/labels a
r   /role/{name}/role-id m
u   /role/{name}/role-id a
u   /role/{name}/secret-id m
l   /role/{name}/secret-id
u   /role/{name}/custom-secret-id a
u   /role/{name}/secret-id/lookup
u   /role/{name}/secret-id/destroy a
d   /role/{name}/secret-id/destroy a
u   /role/{name}/secret-id-accessor/lookup
u   /role/{name}/secret-id-accessor/destroy a
d   /role/{name}/secret-id-accessor/destroy a
r   /role/{name}/{setting}
ud  /role/{name}/{setting} a
l   /users
r   /users/{name}
ud  /users/{name} a
u   /users/{name}/password a
u   /users/{name}/policies a
l   /groups
r   /groups/{name}
ud  /groups/{name} a
l   /map/teams
r   /map/teams/{name}
ud  /map/teams/{name} a
l   /map/users
r   /map/users/{name}
ud  /map/users/{name} a
l   /certs
r   /certs/{name}
ud  /certs/{name} a
l   /crls
r   /crls/{name}
ud  /crls/{name} a
r   /mfa_config
u   /mfa_config a
u   /duo/access a
r   /duo/config
u   /duo/config a
r   /verify/{challenge}
u   /create m
u   /create/{role} m
u   /create-orphan m
l   /accessors
u   /lookup
r   /lookup-self
u   /lookup-self
u   /lookup-accessor
u   /renew
u   /renew-self
u   /renew-accessor
u   /revoke a
u   /revoke-self a
u   /revoke-accessor a
u   /revoke-orphan a
"""

IDENTITY = """
u   /entity a
u   /entity/merge a
u   /entity/batch-delete a
l   /entity/id
r   /entity/id/{id}
ud  /entity/id/{id} a
l   /entity/name
r   /entity/name/{name}
ud  /entity/name/{name} a
u   /entity-alias a
l   /entity-alias/id
r   /entity-alias/id/{id}
ud  /entity-alias/id/{id} a
u   /group a
l   /group/id
r   /group/id/{id}
ud  /group/id/{id} a
l   /group/name
r   /group/name/{name}
ud  /group/name/{name} a
u   /group-alias a
l   /group-alias/id
r   /group-alias/id/{id}
ud  /group-alias/id/{id} a
u   /lookup/entity
u   /lookup/group
r   /oidc/.well-known/openid-configuration
r   /oidc/.well-known/keys
r   /oidc/config
u   /oidc/config a
u   /oidc/introspect
l   /oidc/key
r   /oidc/key/{name}
ud  /oidc/key/{name} a
u   /oidc/key/{name}/rotate a
l   /oidc/role
r   /oidc/role/{name}
ud  /oidc/role/{name} a
r   /oidc/token/{name} m
l   /oidc/assignment
r   /oidc/assignment/{name}
ud  /oidc/assignment/{name} a
l   /oidc/client
r   /oidc/client/{name} m
ud  /oidc/client/{name} a
l   /oidc/provider
r   /oidc/provider/{name}
ud  /oidc/provider/{name} a
r   /oidc/provider/{name}/.well-known/openid-configuration
r   /oidc/provider/{name}/.well-known/keys
ru  /oidc/provider/{name}/authorize m
u   /oidc/provider/{name}/token m
ru  /oidc/provider/{name}/userinfo
l   /oidc/scope
r   /oidc/scope/{name}
ud  /oidc/scope/{name} a
l   /mfa/method
l   /mfa/method/{type}
r   /mfa/method/{type}/{id}
ud  /mfa/method/{type} a
ud  /mfa/method/{type}/{id} a
u   /mfa/method/totp/generate m
u   /mfa/method/totp/admin-generate m
u   /mfa/method/totp/admin-destroy a
l   /mfa/login-enforcement
r   /mfa/login-enforcement/{name}
ud  /mfa/login-enforcement/{name} a
"""

# A store of version 1 has any path, one of version 2 has these words first, and which it is cannot be seen: so
# whatever is read may be a secret.
KV = """
r   /config m
u   /config
r   /data/{path+} m
up  /data/{path+}
d   /data/{path+}
u   /delete/{path+}
u   /undelete/{path+}
u   /destroy/{path+}
l   /metadata
l   /metadata/{path+}
r   /metadata/{path+} m
up  /metadata/{path+}
d   /metadata/{path+}
r   /subkeys/{path+} m
r   /{path+} m
l   /
l   /{path+}
u   /{path+}
d   /{path+}
"""

CUBBYHOLE = """
r   /{path+} m
l   /
l   /{path+}
u   /{path+}
d   /{path+}
"""

_ROLES = """
l   /roles
r   /roles/{name}
upd /roles/{name} a
"""

DATABASE = (
    _ROLES
    + """
l   /config
r   /config/{name}
upd /config/{name} a
u   /reset/{name}
u   /reload/{plugin}
u   /rotate-root/{name} a
u   /rotate-role/{name} a
r   /creds/{name} m
r   /static-creds/{name} m
l   /static-roles
r   /static-roles/{name}
upd /static-roles/{name} a
"""
)

AWS = (
    _ROLES
    + """
r   /config/root
u   /config/root a
u   /config/rotate-root a
r   /config/lease
u   /config/lease
r   /config/sts/{name}
ru  /creds/{name} m
ru  /sts/{name} m
r   /static-creds/{name} m
l   /static-roles
r   /static-roles/{name}
ud  /static-roles/{name} a
"""
)

AZURE = (
    _ROLES
    + """
r   /config
ud  /config a
u   /rotate-root a
r   /creds/{name} m
"""
)

GCP = """
r   /config
u   /config a
u   /config/rotate-root a
l   /rolesets
r   /roleset/{name}
ud  /roleset/{name} a
u   /roleset/{name}/rotate a
u   /roleset/{name}/rotate-key a
ru  /roleset/{name}/token m
ru  /roleset/{name}/key m
l   /static-accounts
r   /static-account/{name}
ud  /static-account/{name} a
u   /static-account/{name}/rotate-key a
ru  /static-account/{name}/token m
ru  /static-account/{name}/key m
l   /impersonated-accounts
r   /impersonated-account/{name}
ud  /impersonated-account/{name} a
ru  /impersonated-account/{name}/token m
ru  /token/{name} m
ru  /key/{name} m
"""

CONSUL = (
    _ROLES
    + """
r   /config/access
ud  /config/access a
r   /creds/{name} m
"""
)

RABBITMQ = (
    _ROLES
    + """
u   /config/connection a
r   /config/lease
u   /config/lease
r   /creds/{name} m
"""
)

NOMAD = """
r   /config/access
ud  /config/access a
r   /config/lease
ud  /config/lease
l   /role
r   /role/{name}
ud  /role/{name} a
r   /creds/{name} m
"""

ACTIVE_DIRECTORY = (
    _ROLES
    + """
r   /config
ud  /config a
u   /rotate-root a
u   /rotate-role/{name} a
r   /creds/{name} m
l   /library
r   /library/{name}
ud  /library/{name} a
u   /library/{name}/check-out m
u   /library/{name}/check-in
r   /library/{name}/status
u   /library/manage/{name}/check-in a
"""
)

LDAP = """
r   /config
ud  /config a
u   /rotate-root a
u   /rotate-role/{name} a
l   /static-role
r   /static-role/{name}
ud  /static-role/{name} a
r   /static-cred/{name} m
l   /role
r   /role/{name}
ud  /role/{name} a
r   /creds/{name} m
l   /library
r   /library/{name}
ud  /library/{name} a
u   /library/{name}/check-out m
u   /library/{name}/check-in
r   /library/{name}/status
u   /library/manage/{name}/check-in a
"""

KUBERNETES = (
    _ROLES
    + """
r   /config
ud  /config a
r   /check
u   /creds/{name} m
"""
)

SSH = (
    _ROLES
    + """
u   /keys/{name} a
d   /keys/{name} a
r   /config/zeroaddress
ud  /config/zeroaddress a
r   /config/ca
ud  /config/ca a
r   /public_key
u   /creds/{name} m
u   /lookup
u   /verify m
u   /sign/{name} m
u   /issue/{name} m
"""
)

TOTP = """
l   /keys
r   /keys/{name}
u   /keys/{name} m
d   /keys/{name}
r   /code/{name} m
u   /code/{name}
"""

PKI = (
    _ROLES
    + """
r   /ca
r   /ca/pem
r   /ca_chain
r   /crl
r   /crl/pem
r   /crl/delta
r   /crl/delta/pem
r   /crl/rotate
r   /crl/rotate-delta
r   /cert/{serial}
r   /cert/{serial}/raw
r   /cert/{serial}/raw/pem
r   /cert/ca_chain
l   /certs
l   /certs/revoked
l   /certs/unified-revoked
u   /config/ca a
r   /config/crl
u   /config/crl a
r   /config/urls
u   /config/urls a
r   /config/issuers
u   /config/issuers a
r   /config/keys
u   /config/keys a
r   /config/cluster
u   /config/cluster a
r   /config/acme
u   /config/acme a
r   /config/auto-tidy
u   /config/auto-tidy
u   /intermediate/generate/{type} m
u   /intermediate/cross-sign m
u   /intermediate/set-signed a
u   /issue/{name} m
u   /issuer/{issuer}/issue/{name} m
u   /issuer/{issuer}/sign/{name} m
u   /issuer/{issuer}/sign-verbatim m
u   /issuer/{issuer}/sign-verbatim/{name} m
u   /issuer/{issuer}/sign-intermediate m
u   /issuer/{issuer}/sign-self-issued m
u   /issuer/{issuer}/revoke a
u   /issuer/{issuer}/resign-crls
r   /issuer/{issuer}
r   /issuer/{issuer}/json
r   /issuer/{issuer}/der
r   /issuer/{issuer}/pem
r   /issuer/{issuer}/crl
r   /issuer/{issuer}/crl/der
r   /issuer/{issuer}/crl/pem
up  /issuer/{issuer} a
d   /issuer/{issuer} a
l   /issuers
u   /issuers/generate/root/{type} m
u   /issuers/generate/intermediate/{type} m
u   /issuers/import/bundle a
u   /issuers/import/cert a
l   /keys
u   /keys/generate/{type} m
u   /keys/import a
r   /key/{key}
u   /key/{key} a
d   /key/{key} a
ru  /ocsp
r   /ocsp/{request}
u   /revoke a
u   /revoke-with-key a
u   /root/generate/{type} m
u   /root/rotate/{type} m
u   /root/replace a
d   /root
u   /root/sign-intermediate m
u   /root/sign-self-issued m
u   /sign/{name} m
u   /sign-verbatim m
u   /sign-verbatim/{name} m
u   /tidy
u   /tidy-cancel
r   /tidy-status
"""
)

TRANSIT = """
l   /keys
r   /keys/{name}
u   /keys/{name}
d   /keys/{name}
u   /keys/{name}/config a
u   /keys/{name}/rotate
u   /keys/{name}/trim
u   /keys/{name}/import
u   /keys/{name}/import_version
u   /keys/{name}/csr
u   /keys/{name}/set-certificate
u   /encrypt/{name}
u   /decrypt/{name} m
u   /rewrap/{name}
u   /datakey/{type}/{name} m
u   /random
u   /random/{bytes}
u   /random/{source}/{bytes}
u   /hash
u   /hash/{algorithm}
u   /hmac/{name}
u   /hmac/{name}/{algorithm}
u   /sign/{name}
u   /sign/{name}/{algorithm}
u   /verify/{name}
u   /verify/{name}/{algorithm}
r   /export/{type}/{name} m
r   /export/{type}/{name}/{version} m
r   /byok-export/{destination}/{name} m
r   /backup/{name} m
u   /restore
u   /restore/{name}
r   /cache-config
u   /cache-config
r   /config/keys
u   /config/keys a
r   /wrapping_key
"""

TRANSFORM = """
l   /role
r   /role/{name}
ud  /role/{name} a
l   /transformation
r   /transformation/{name}
ud  /transformation/{name} a
u   /transformations/fpe/{name} a
u   /transformations/masking/{name} a
u   /transformations/tokenization/{name} a
u   /transformations/tokenization/snapshot/{name}
u   /transformations/tokenization/restore/{name}
u   /transformations/tokenization/export-decoded/{name} m
l   /template
r   /template/{name}
ud  /template/{name} a
l   /alphabet
r   /alphabet/{name}
ud  /alphabet/{name} a
l   /store
r   /store/{name}
ud  /store/{name} a
u   /encode/{name}
u   /decode/{name} m
u   /validate/{name}
u   /tokenized/{name}
u   /metadata/{name}
l   /tokenization/keys
r   /tokenization/keys/{name}
u   /tokenization/keys/{name}/rotate
u   /tokenization/keys/{name}/config a
u   /tokenization/keys/{name}/trim
"""

ENGINES = {
    "kv": KV,
    "cubbyhole": CUBBYHOLE,
    "database": DATABASE,
    "aws": AWS,
    "azure": AZURE,
    "gcp": GCP,
    "consul": CONSUL,
    "rabbitmq": RABBITMQ,
    "nomad": NOMAD,
    "ad": ACTIVE_DIRECTORY,
    "ldap": LDAP,
    "kubernetes": KUBERNETES,
    "ssh": SSH,
    "totp": TOTP,
    "pki": PKI,
    "transit": TRANSIT,
    "transform": TRANSFORM,
}
"""Paths behind the mount, by engine."""

MOUNTS = {"secret": "kv", "kv": "kv", "kv-v1": "kv", "kv-v2": "kv"} | {name: name for name in ENGINES}
"""Engine by the mount that the reference's examples use."""
