"""RFC 3161 timestamps: the question to a time-stamping authority, and the judgement of its answer."""

from datetime import datetime

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from orchestrator.foundation.errors import EvidenceRejected

_GRANTED = 0


def timestamp_query(content: bytes) -> bytes:
    """The body of the request, asking for the authority's certificate."""
    builder = TimestampRequestBuilder().data(content).hash_algorithm(HashAlgorithm.SHA256)
    return builder.cert_request(cert_request=True).build().as_bytes()


def timestamp_time(answer: bytes, content: bytes, roots_pem: str) -> datetime:
    """When an authority under one of the roots saw `content`; EvidenceRejected when it does not say so validly."""
    try:
        roots = x509.load_pem_x509_certificates(roots_pem.encode())
        response = decode_timestamp_response(answer)
        if response.status != _GRANTED:
            raise EvidenceRejected(f"the time-stamping authority refused: {response.status_string}")
        builder = VerifierBuilder()
        for root in roots:
            builder = builder.add_root_certificate(root)
        builder.build().verify_message(response, content)
        return response.tst_info.gen_time
    except VerificationError as error:
        raise EvidenceRejected(f"the timestamp does not verify: {error}") from error
    except (ValueError, TypeError, OverflowError) as error:  # malformed inner structures surface late
        raise EvidenceRejected(f"the timestamp is malformed: {error}") from error
