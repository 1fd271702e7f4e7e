import time

from service.adapters.metrics import PAUSES, Metrics


def test_a_pause_keeps_the_time_of_its_beginning_until_it_ends() -> None:
    metrics = Metrics()
    value = metrics.registry.get_sample_value
    name, labels = "omni_relay_paused_since_timestamp_seconds", {"reason": "failing"}
    before = time.time()
    metrics.paused["failing"].set(True)
    began = value(name, labels)
    metrics.paused["failing"].set(True)

    assert began is not None
    assert before <= began <= time.time()
    assert value(name, labels) == began
    assert value("omni_relay_paused", labels) == 1
    metrics.paused["failing"].set(False)
    assert [value(name, {"reason": reason}) for reason in PAUSES] == [0, 0, 0, 0]
    assert value("omni_relay_paused", labels) == 0
