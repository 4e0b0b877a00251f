"""Every bound in one place, the unit last in the name. A bound without a caller is removed."""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

SSH_CONNECT_SECONDS_MAX = 15
COMMAND_SECONDS_DEFAULT = 60
COMMAND_OUTPUT_BYTES_MAX = 16 * MIB  # beyond this a command is printing, not working
PLAYBOOK_SECONDS_DEFAULT = 300
INVENTORY_FILE_BYTES_MAX = 4 * MIB
RUNBOOK_STEPS_MAX = 500
EVIDENCE_ENTRY_BYTES_MAX = 65_535  # C2SP tlog-tiles: entry bundles carry a 16-bit length
TRANSFER_CERTIFICATE_SECONDS = 300  # each transfer's own SSH certificate expires within minutes of need
