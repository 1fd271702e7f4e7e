"""The same job, written with what others would take: each a program of its own.

    PROGRAM work               take requests from the queue, post each, publish a confirmed event, acknowledge
    PROGRAM load COUNT KIND    put requests into the queue

They check, log and measure nothing beyond that. RIVAL_BROKER and RIVAL_OMNI say where the broker and OMNI are.
"""
