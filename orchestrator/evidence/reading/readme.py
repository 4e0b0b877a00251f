"""README.txt: how to verify a bundle, with skerry and with other people's programs only."""

from orchestrator.evidence.reading.material import Material
from orchestrator.evidence.reading.words import shortened, title
from orchestrator.evidence.signing.ssh_signature import NAMESPACE

_TEXT = """\
EVIDENCE   {title}
run        {run}
log        {origin}, {size} entries

Open report.html to read. Verify before you rely on it: nothing here needs a network, or the help of those who made it.


1  WITH THE VERIFIER

   skerry evidence verify --policy YOUR-TRUST-POLICY.json .        (or: python3 skerry-verify.pyz …)

   Your policy must have reached you on another way than this bundle; policy/trust-policy.json is a copy for reference.
   The digest of the policy that was used is printed; compare it with your own record.


2  WITH OTHER PEOPLE'S PROGRAMS ONLY

   Files:

      sha256sum -c manifest.sha256
{signatures}{timestamps}
   The log: any implementation of C2SP signed-note, tlog-checkpoint, tlog-tiles and tlog-proof (c2sp.org) reads log/
   and proofs/. The keys of the log stand in policy/tlog-policy.txt; compare them with your own record:

{keys}
   OSCAL: any OSCAL 1.2 validator on oscal/assessment-results.json


3  WHAT IS WHERE

   report.html                   for people; made from the log, proves nothing by itself
   csv/                          events and steps, for sampling in a spreadsheet
   oscal/                        assessment results for tools
   plan.json, runbook/           what was approved, and the files that decide what runs
   statements/                   what persons signed: *.dsse.json is the envelope, *.pae the exact bytes that were
                                 signed, *.sshsig the signature as OpenSSH writes it
   proofs/                       stand-alone proofs that key entries are in the log
   log/                          the evidence: signed head, events as logged, hash tiles that bind them to the head
   artifacts/                    outputs, plans and envelopes, each under its SHA-256
   anchors/                      heads of the log that others saw, and when
   policy/                       reference copies of the policy in the forms that other programs read


4  WHAT THIS BUNDLE DOES NOT SHOW

   Events that were never logged; whether what was logged is true; other runs of the log (verify the whole log for
   those); anything before the first key in your policy; whether the controls as a whole are effective.
"""


def readme(material: Material) -> bytes:
    keys = "".join(f"      {shortened(str(key))}\n" for key in material.policy.log_policy.logs)
    domain = material.policy.identity_domain
    signatures = ""
    if material.signed:
        first = material.signed[0]
        signatures = (
            f"\n   A person's signature; the .pae is what was signed, in plain JSON after its header, read it:\n\n"
            f"      ssh-keygen -Y verify -f policy/allowed_signers -I {first.by}@{domain} \\\n"
            f"         -n {NAMESPACE} -s statements/{first.name}.sshsig < statements/{first.name}.pae\n"
        )
    timestamps = ""
    if material.bounds:
        size = f"{material.bounds[-1].size:012d}"
        timestamps = (
            "\n   When a head of the log existed:\n\n"
            f"      openssl ts -verify -data anchors/{size}.text -in anchors/{size}.tsr -CAfile policy/tsa-roots.pem\n"
        )
    text = _TEXT.format(
        title=title(material.story),
        run=material.story.run,
        origin=material.head.origin,
        size=material.head.size,
        signatures=signatures,
        timestamps=timestamps,
        keys=keys,
    )
    return text.encode()
