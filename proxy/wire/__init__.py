"""What every engine has in common where bytes come in and go out: who is connected, how they came, what may pass.

An engine (`proxy.mitm`) speaks the protocols. Here is what does not depend on which one does: the limits of
connections, the ways in before the first request, and which fields of an answer are passed on.
"""
