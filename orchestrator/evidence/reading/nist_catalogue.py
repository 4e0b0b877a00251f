"""Titles of the controls of NIST SP 800-53 rev 5 that steps are mapped to; an enhancement with its control's title."""

TITLES: dict[str, str] = {
    "ac-5": "Separation of Duties",
    "au-3": "Content of Audit Records",
    "au-8": "Time Stamps",
    "au-9": "Protection of Audit Information",
    "au-10": "Non-repudiation",
    "au-11": "Audit Record Retention",
    "au-12": "Audit Record Generation",
    "cm-2": "Baseline Configuration",
    "cm-3": "Configuration Change Control",
    "cp-2": "Contingency Plan",
    "cp-4": "Contingency Plan Testing",
    "cp-6": "Alternate Storage Site",
    "cp-6.1": "Alternate Storage Site: Separation from Primary Site",
    "cp-7": "Alternate Processing Site",
    "cp-9": "System Backup",
    "cp-9.1": "System Backup: Testing for Reliability and Integrity",
    "cp-9.8": "System Backup: Cryptographic Protection",
    "cp-10": "System Recovery and Reconstitution",
    "cp-10.2": "System Recovery and Reconstitution: Transaction Recovery",
    "si-7": "Software, Firmware, and Information Integrity",
}
