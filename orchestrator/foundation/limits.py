"""Every bound in one place, the unit last in the name. A bound without a caller is removed."""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

SSH_CONNECT_SECONDS_MAX = 15
COMMAND_SECONDS_DEFAULT = 60
COMMAND_OUTPUT_BYTES_MAX = 16 * MIB  # beyond this a command is printing, not working
PLAYBOOK_SECONDS_DEFAULT = 300
INVENTORY_FILE_BYTES_MAX = 16 * MIB  # some 20 000 systems
RUNBOOK_STEPS_MAX = 500
EVIDENCE_ENTRY_BYTES_MAX = 65_535  # C2SP tlog-tiles: entry bundles carry a 16-bit length
TRANSFER_CERTIFICATE_SECONDS = 300  # each transfer's own SSH certificate expires within minutes of need
SCRUBBED_SECRET_CHARACTERS_MIN = 4  # a shorter secret would blot out ordinary text
EVIDENCE_BALLAST_BYTES = 4 * MIB  # room kept back so that a full disk can still be recorded
EVIDENCE_COMMIT_EVENTS_MAX = 2000  # events that share one commit
EVIDENCE_STORE_WAIT_SECONDS_MAX = 30
EVIDENCE_ARTIFACT_BYTES_MAX = 64 * MIB
WRITTEN_FILE_NODES_MAX = 1_000_000  # values in one YAML file, every alias counted as often as it is used
WRITTEN_FILE_DEPTH_MAX = 40
SECRET_BYTES_MAX = 64 * KIB
SECRET_COMMAND_SECONDS = 30
PERSON_SIGNS_SECONDS_MAX = 120  # for a passphrase or the touch of a token
APPROVAL_CLOCK_SKEW_SECONDS_MAX = 120
SSH_ALIVE_SECONDS = 5  # a silent connection is asked this often …
SSH_ALIVE_COUNT_MAX = 4  # … and given up after so many unanswered questions
SSH_SESSIONS_PER_CONNECTION_MAX = 8  # sshd's default is ten, one is the connection's own
TRANSFER_CERTIFICATE_SECONDS_MAX = 3600
TRUST_POLICY_BYTES_MAX = 4 * MIB
COUNT_DATASET_SECONDS_MAX = 60  # the survey counts files and bytes of one dataset no longer
SURVEY_HOSTS_PARALLEL_MAX = 16
BUNDLE_FILES_MAX = 200_000
BUNDLE_BYTES_MAX = 4 * GIB
BUNDLE_FILE_BYTES_MAX = 256 * MIB
EVIDENCE_PUBLISH_SECONDS_MAX = 300  # how long recorded events may wait for a signed head while a run is going
STORE_READ_WAIT_SECONDS_MAX = 30  # for another process that just changes the file

# How long a worker of a shared database may be silent before others take its work over, unless it says otherwise.
WORKER_DEAD_SECONDS = 20.0
WORKER_DEAD_SECONDS_MIN = 5.0

# While a run waits for its commit: how often its way back is brought up to date, of how many systems at once, and how
# long whoever asks for something else waits for a round under way.
WAY_BACK_EVERY_SECONDS = 15.0
ROUNDS_OF_WAITING_RUNS_MAX = 4
ROUND_UNDER_WAY_SECONDS_MAX = 900.0

# How often hosts are looked at that may have booted, and wait to be told that they may serve.
STARTS_LOOKED_AT_SECONDS = 10.0
