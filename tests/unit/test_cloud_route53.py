"""A change at the lab's Route 53 is INSYNC once the name server's file holds it, however long that takes."""

import re
import time
from pathlib import Path

from orchestrator.lab.cloud.answers import Answer
from orchestrator.lab.cloud.call import AwsCall
from orchestrator.lab.cloud.strict.route53 import StrictRoute53


def a_call(action: str, path: str) -> AwsCall:
    return AwsCall("route53", action, "us-east-1", "", "GET", path, {}, {}, b"")


def test_a_change_that_is_insync_is_in_the_file(tmp_path: Path) -> None:
    zones = tmp_path / "zones.json"
    route53 = StrictRoute53(zones, lag_seconds=0.01)
    told = route53.after(a_call("ChangeResourceRecordSets", "/2013-04-01/hostedzone/Z1/rrset"), Answer(200)).body
    change = re.search(rb"<Id>/change/(\w+)</Id><Status>PENDING</Status>", told)
    assert change

    def status() -> bytes:
        answer = route53.before(a_call("GetChange", f"/2013-04-01/change/{change[1].decode()}"))
        assert answer is not None
        return answer.body

    until = time.monotonic() + 30
    while b"INSYNC" not in status():
        assert time.monotonic() < until
    assert zones.read_text() == "{}"
