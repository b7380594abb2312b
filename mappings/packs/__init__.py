"""The shipped packs: code for APIs whose requests follow a rule, YAML for those that are a list of routes.

`CODE_PACKS` are the code packs; the YAML files beside this one are read by `mappings.loading`, and hold route
tables and the intent rules that turn operations into the small vocabulary of actions:

    deploy:ENV  deploy:rollback-ENV  deploy:plan      infra:create  infra:update  infra:destroy
    pr:comment  pr:approve  pr:merge                  repo:push  repo:delete  repo:delete-ref
    ci:run   secret:read   iam:change                 data:read  data:write  data:delete   health:check

A pack never makes a call sound milder than it is: what no rule names keeps its full operation name.
"""

from mappings.packs.aws import PACK as AWS
from mappings.packs.git import PACK as GIT
from mappings.packs.kubernetes import PACK as KUBERNETES
from mappings.recognition import Pack

CODE_PACKS: tuple[Pack, ...] = (KUBERNETES, GIT, AWS)
