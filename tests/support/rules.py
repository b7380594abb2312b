"""Rules that several tests share."""

from typing import Any

ORIGIN_MAPPINGS: dict[str, Any] = {
    "version": 1,
    "rules": [
        {
            "id": "read",
            "match": {"host": ["origin.test", "plain.test"], "method": "GET", "path": "/{what+}"},
            "action": "data:read",
            "target": "${host}/${what}",
        },
        {
            "id": "write",
            "match": {"host": ["origin.test", "plain.test"], "method": ["POST", "PUT"], "path": "/{what+}"},
            "action": "data:write",
            "target": "${host}/${what}",
        },
        {
            "id": "delete",
            "match": {"host": ["origin.test", "plain.test"], "method": "DELETE", "path": "/{what+}"},
            "action": "infra:destroy",
            "target": "${host}/${what}",
        },
        {
            "id": "run",
            "match": {"host": "origin.test", "method": "POST", "path": "/runs"},
            "action": "deploy:staging",
            "target": "${host}",
        },
        {
            "id": "destroy-run",
            "match": {"host": "origin.test", "method": "POST", "path": "/runs", "json": {"destroy": True}},
            "action": "infra:destroy",
            "target": "${host}",
        },
    ],
}
