"""The only room with a wire: it reads requests, asks the other rooms, and answers or forwards.

Steps of every request: who, facts, resolve, decide, record, answer, outcome (`proxy.pipeline`).
It never forwards what was not allowed and recorded, and it never trusts what an agent says about itself.
"""
