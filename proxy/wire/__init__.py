"""What every engine has in common where bytes come in and go out: who is connected, how they came, what may pass.

An engine (`proxy.mitm`, `proxy.fast`) speaks the protocols. Here is what does not depend on which one does: how
connections begin and end and are limited, the ways in before the first request, and which fields of an answer pass.
"""
