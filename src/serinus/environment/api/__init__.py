"""The control API over HTTP, on loopback.

The way of a request, and the modules that serve each stage::

    server     listens, in good order and within bounds
    requests   what is let in: where from, with which token, how large, with which members (pure)
    routes     what each path does: a call of :class:`serinus.environment.control.Control`
    answers    values and errors -> JSON and problem details (pure)

``documents`` turns values into plain ones and back, for both sides; ``token`` keeps the secret.
"""
