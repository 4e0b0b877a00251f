"""The program's begin: disks to EBS snapshots and back, folders to S3 buckets and compared with them.

It is sent to hosts, run by their own Python (3.9 or newer) and leaves only its files of digests. Keys of the cloud come
after the program on standard input, and nowhere else. It answers lines `KIND JSON`, the last one `result {…}`.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from orchestrator.targets.host_programs.cloud_data.calls import Refused
from orchestrator.targets.host_programs.cloud_data.crew import say
from orchestrator.targets.host_programs.cloud_data.ebs import DirectApis
from orchestrator.targets.host_programs.cloud_data.objects import Bucket, compare, store
from orchestrator.targets.host_programs.cloud_data.signing import Signer
from orchestrator.targets.host_programs.cloud_data.snapshots import known, put, read_back, settle

MYPY = False  # true for the type checker alone
if MYPY:
    from typing import Any


def done(request: dict[str, Any]) -> dict[str, Any]:
    do = request["do"]
    if do in ("known", "settle"):
        return known(request) if do == "known" else settle(request)
    keys = json.loads(sys.stdin.buffer.read())
    service: DirectApis | Bucket
    if do in ("put", "read"):
        service = DirectApis(request["endpoint"], Signer(keys, request["region"], "ebs"))
        result = put(request, service) if do == "put" else read_back(request, service)
    else:
        service = Bucket(request["endpoint"], Signer(keys, request["region"], "s3"), request["bucket"], request["can"])
        result = store(request, service) if do == "store" else compare(request, service)
    return dict(result, calls=service.calls, calls_again=service.again)


def main() -> None:
    begin = time.monotonic()
    try:
        result = done(json.loads(sys.argv[-1]))
    except Refused as error:
        result = {"refused": {"code": error.code, "message": str(error), "status": error.status}}
    except (OSError, ValueError) as error:
        result = {"broken": str(error)}
    result["seconds"] = time.monotonic() - begin
    result["memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    say("result", result)


if __name__ == "__main__":
    main()
