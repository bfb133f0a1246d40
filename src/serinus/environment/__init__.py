"""Environments: where versions run. A router, replicas, a control API.

The flow, and the module that serves each stage::

    envoy      the router: a routing -> Envoy's configuration; its record of attempts
    fleet      keeps the replicas of the wanted versions running, in any runtime
    up         an environment as a whole: journal, router, fleet, controller, control API
    api        the control API; ``client`` is its other side
"""
