"""The report as PDF: an extra, asked for before anything is written, and made where it is installed."""

import subprocess
import sys

import pytest

from orchestrator.evidence.pdf import report_pdf
from orchestrator.foundation.errors import EvidenceError

# An interpreter in which the extra cannot be imported.
WITHOUT_THE_EXTRA = """
import sys
sys.modules["weasyprint"] = None
from orchestrator.evidence.pdf import ensure_pdf, report_pdf
from orchestrator.foundation.errors import UsageError
for ask in (ensure_pdf, lambda: report_pdf(b"<p>report</p>")):
    try:
        ask()
    except UsageError as error:
        print(error.message, "|", error.hint)
"""


def test_without_the_extra_the_operator_is_told_what_to_install():
    told = subprocess.run([sys.executable, "-c", WITHOUT_THE_EXTRA], capture_output=True, text=True, check=True).stdout
    assert len(told.splitlines()) == 2
    assert all("weasyprint is not installed" in line for line in told.splitlines())
    assert all("pip install 'skerry[pdf]'" in line for line in told.splitlines())


@pytest.mark.filterwarnings("ignore")
def test_a_page_is_printed_and_nothing_is_fetched():
    assert report_pdf(b"<h1>report</h1>").startswith(b"%PDF")
    with pytest.raises(EvidenceError, match="outside of it"):
        report_pdf(b'<img src="http://127.0.0.1:9/x.png">')
