"""The report as PDF, for those who ask for paper. Needs the extra `pdf`, which nothing else does.

It is not part of a bundle: the program that makes it does not give the same bytes everywhere. report.html is what a
verifier compares.
"""

import importlib.util

from orchestrator.foundation.errors import EvidenceError, UsageError


def ensure_pdf() -> None:
    """UsageError when the extra is not installed; asked before anything is written."""
    if importlib.util.find_spec("weasyprint") is None:
        raise UsageError(
            "a PDF can not be made here: weasyprint is not installed",
            hint="pip install 'skerry[pdf]', or open report.html in a browser and print it.",
        )


def report_pdf(page: bytes) -> bytes:
    """The page of a bundle's report.html, printed. Nothing is fetched: the page refers to nothing."""
    ensure_pdf()
    try:
        import weasyprint  # noqa: PLC0415 - an extra of 100 MB, loaded where it is asked for
    except (ImportError, OSError) as error:
        raise UsageError(f"weasyprint does not load: {error}", hint="apt-get install libpango-1.0-0") from error

    # `data:` stands in the page itself; every other address would be looked up.
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols={"data"}, fail_on_errors=True)
    try:
        content = weasyprint.HTML(string=page.decode(), url_fetcher=fetcher).write_pdf(pdf_variant="pdf/a-3b")
    except weasyprint.urls.FatalURLFetchingError as error:
        raise EvidenceError(f"the report refers to something outside of it: {error}") from error
    return bytes(content)
