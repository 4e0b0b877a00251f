"""RFC 3161 timestamps: the question to a time-stamping authority, and the judgement of its answer."""

from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from orchestrator.foundation.errors import EvidenceRejected, MissingTool

_GRANTED = 0


def _client() -> Any:
    """The library, when a timestamp is really there: a log without any is verified without it."""
    try:
        import rfc3161_client  # noqa: PLC0415 - see above
    except ImportError:
        raise MissingTool(
            "timestamps can not be judged here: rfc3161-client is not installed",
            hint="pip install 'rfc3161-client>=1.0.9'",
        ) from None
    return rfc3161_client


def timestamp_query(content: bytes) -> bytes:
    """The body of the request, asking for the authority's certificate."""
    client = _client()
    builder = client.TimestampRequestBuilder().data(content).hash_algorithm(client.HashAlgorithm.SHA256)
    query: bytes = builder.cert_request(cert_request=True).build().as_bytes()
    return query


def timestamp_time(answer: bytes, content: bytes, roots_pem: str) -> datetime:
    """When an authority under one of the roots saw `content`; EvidenceRejected when it does not say so validly."""
    client = _client()
    try:
        roots = x509.load_pem_x509_certificates(roots_pem.encode())
        response = client.decode_timestamp_response(answer)
        if response.status != _GRANTED:
            raise EvidenceRejected(f"the time-stamping authority refused: {response.status_string}")
        builder = client.VerifierBuilder()
        for root in roots:
            builder = builder.add_root_certificate(root)
        builder.build().verify_message(response, content)
        time: datetime = response.tst_info.gen_time
    except client.VerificationError as error:
        raise EvidenceRejected(f"the timestamp does not verify: {error}") from error
    except (ValueError, TypeError, OverflowError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        # Malformed inner structures surface late.
        raise EvidenceRejected(f"the timestamp is malformed: {error}") from error
    except BaseException as error:
        # The library panics on certificates that it can not read, which is no Exception and would end the verifier.
        if type(error).__name__ != "PanicException":
            raise
        raise EvidenceRejected("the timestamp is malformed: its certificates can not be read") from None
    return time
