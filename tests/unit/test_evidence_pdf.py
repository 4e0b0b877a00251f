"""The report as PDF: an extra, asked for before anything is written, and made where it is installed."""

import sys

import pytest

from orchestrator.evidence.pdf import ensure_pdf, report_pdf
from orchestrator.foundation.errors import EvidenceError, UsageError


def test_without_the_extra_the_operator_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    for ask in (ensure_pdf, lambda: report_pdf(b"<p>report</p>")):
        with pytest.raises(UsageError, match="weasyprint is not installed") as caught:
            ask()
        assert "pip install 'skerry[pdf]'" in caught.value.hint


@pytest.mark.filterwarnings("ignore")
def test_a_page_is_printed_and_nothing_is_fetched():
    assert report_pdf(b"<h1>report</h1>").startswith(b"%PDF")
    with pytest.raises(EvidenceError, match="outside of it"):
        report_pdf(b'<img src="http://127.0.0.1:9/x.png">')
