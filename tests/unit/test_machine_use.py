"""What a machine uses is measured on a real one: this."""

import platform
import subprocess
import sys

from orchestrator.hosts.local import LocalTransport
from orchestrator.model.host import Host
from orchestrator.model.price import ARCHITECTURES, MeasuredLoad
from orchestrator.survey.use import measure_use

HERE = Host(name="here", site="source", address="127.0.0.1", become=False)


def test_a_busy_processor_and_a_full_disk_are_seen(tmp_path):
    words = [sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(words) as busy:
        try:
            load = measure_use(LocalTransport(HERE), 1.2, ["/", str(tmp_path / "not" / "there")])
        finally:
            busy.kill()
    # On a machine where others are at work too the loop gets its share; but then they are seen instead.
    assert load.vcpus_busy > 0.5
    assert load.memory_gib > 0.01
    assert load.disk_gib > 0.01
    assert (load.measured_on, load.seconds) == ("here", 1.2)
    assert load.architecture == ARCHITECTURES[platform.machine()]


def test_two_looks_together_are_the_busiest_of_both():
    first = MeasuredLoad(vcpus_busy=1, memory_gib=9, disk_mib_per_second=3, disk_gib=5, seconds=10, measured_at="b")
    later = MeasuredLoad(vcpus_busy=2, memory_gib=1, disk_mib_per_second=1, disk_gib=6, seconds=5, measured_at="c")
    both = MeasuredLoad(vcpus_busy=2, memory_gib=9, disk_mib_per_second=3, disk_gib=6, seconds=15, measured_at="c")
    assert first.together(later) == later.together(first) == both
