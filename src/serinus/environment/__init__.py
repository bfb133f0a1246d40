"""Environments: where versions run. A router, replicas, a control API.

The flow, and the modules that serve each stage::

    envoy      the router: a routing -> Envoy's configuration; its record of attempts
    fleet      keeps the replicas of the wanted versions running, in any runtime
    senses     what else is seen: ``scrape`` counts predictions, ``probe`` asks the examples
    up         an environment as a whole: journal, router, fleet, controller, control API; ``place`` is
               where it keeps its state
    control    what it answers to those who ask; ``admission`` lets images in, ``overview`` makes the
               ``status``
    api        the control API over HTTP
    client     its other side, upon ``wire``; ``display`` for notebooks
    webhooks   tells others what was decided
"""
