"""How records look to other systems: CSV, OCSF, CloudEvents, syslog. Pure: a record in, a line out.

Nothing is added that a record does not say and nothing is hidden that it does: what was redacted stays so.
"""
