"""contracts.machine_console.MachineConsole over EC2: serial console and screenshot.

EC2 API reference, GetConsoleOutput: without `Latest` it gives what was posted shortly after the instance last changed
its state, with it what is there now, on types of the Nitro hypervisor alone; 64 KB at most. GetConsoleScreenshot: a JPG
of a running instance; user guide, "Instance console output": bare metal types have none, for one.
"""

import base64
from typing import Any

from botocore.exceptions import ClientError

from orchestrator.contracts.bubble_machines import CONSOLE_BYTES_MAX, Picture
from orchestrator.targets.aws.session import AwsSession, aws_errors, error_code

UNSUPPORTED = ("UnsupportedOperation", "InvalidParameterCombination", "IncorrectInstanceState")


class AwsConsole:
    """Roles may look at machines with our tags alone: policies/drill.json."""

    def __init__(self, session: AwsSession) -> None:
        self._session = session

    @property
    def _ec2(self) -> Any:
        return self._session.client("ec2")

    def printed(self, machine_id: str) -> str:
        with aws_errors(f"reading the console of {machine_id}"):
            try:
                answer = self._ec2.get_console_output(InstanceId=machine_id, Latest=True)
            except ClientError as error:
                if error_code(error) not in UNSUPPORTED:
                    raise
                answer = self._ec2.get_console_output(InstanceId=machine_id)
        return str(answer.get("Output", ""))[-CONSOLE_BYTES_MAX:]

    def picture(self, machine_id: str) -> Picture | None:
        with aws_errors(f"looking at the screen of {machine_id}"):
            try:
                answer = self._ec2.get_console_screenshot(InstanceId=machine_id)
            except ClientError as error:
                if error_code(error) not in UNSUPPORTED:
                    raise
                return None
        return Picture(content=base64.b64decode(answer["ImageData"]), media_type="image/jpeg")
