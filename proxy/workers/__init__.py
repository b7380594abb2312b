"""One gate of several processes: workers serve the listeners, the coordinator decides what they have in common.

    supervisor      binds the ports, starts the others and replaces what dies; one thread, no loop, decides nothing
    coordinator     writes the Chron, has the control API, loads rules; waits for humans, counts uses of limits
    worker 1..N     the wire: each judges what hangs on the rules alone, and asks the coordinator about the rest

A worker that is not in touch with the coordinator forwards nothing. What is said at the API counts in every worker
when the answer is given. Nothing here says whether a request may pass: that is `proxy.pipeline`, in each process.
"""
