"""The fleet: the replicas of the wanted versions, kept running in any runtime.

``keep`` is the loop, ``supervise`` decides what each replica needs (pure), ``replicas`` starts, adopts and
stops them, ``ports`` finds places for them, ``merged`` reads what they have written as one.
"""
