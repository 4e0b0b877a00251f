"""An account of writes says what was counted, and in plain words what nobody knows."""

from orchestrator.cli.accounts import account_lines
from orchestrator.steps.accounting import account_text

REFUSED = "no answer (Connection refused), expected status 200"


def account(**datasets):
    counted = datasets.values()
    return {
        "at": "source",
        "beside": "cloud",
        "bytes": sum(found.get("bytes", 0) for found in counted),
        "transactions": sum(found.get("transactions", 0) for found in counted),
        "paths": sum(found.get("paths", 0) for found in counted),
        "more": False,
        "complete": all("unknown" not in found for found in counted),
        "datasets": datasets,
        "business": {},
    }


def test_what_was_not_counted_is_never_told_as_nothing():
    unreachable = {"unknown": "onprem-filing1: cannot be reached"}
    told = account_text(account(register=unreachable, attachments=unreachable))
    assert told == "only at source, not at cloud: of register, attachments nobody knows how much"
    half = account_text(account(register=unreachable, attachments={"paths": 3, "named": ["a", "b", "c"]}))
    assert half == "only at source, not at cloud: 3 files, of register nobody knows how much"
    assert account_text(account(attachments={"paths": 0, "named": []})) == "only at source, not at cloud: 0 files"


def test_what_only_the_other_side_has_is_not_told_as_this_one_s():
    found = {"paths": 322, "named": [], "beside_only": 300}
    told = account_text(account(attachments=found))
    assert told == "only at source, not at cloud: 322 files differ, 300 of them only at cloud"


def test_a_log_that_parted_says_so():
    register = {"bytes": 4096, "transactions": 7, "parted": True, "from": "0/3000000", "to": "0/3001000"}
    lines = account_lines(account(register=register))
    assert lines[0] == "only at source, not at cloud: 4096 bytes of database log, 7 transactions"
    assert lines[1].strip() == (
        "register: 4096 bytes, 7 transactions, log from 0/3000000 to 0/3001000, "
        "written after the other side had gone its own way"
    )


def test_a_check_that_has_no_answer_says_why():
    told = account(register={"bytes": 0, "transactions": 0})
    silent = {"observed": {"total_amount": None, "last_id": None}, "wrong": [REFUSED]}
    answering = {"observed": {"count": 5, "last_id": None}, "wrong": []}
    told["business"] = {"hosts": {"onprem-filing1": {"checks": {"receipts": silent, "office": answering}}}}
    assert [line.strip() for line in account_lines(told)[2:]] == [
        f"receipts at source: not known: {REFUSED}",
        "office at source: count 5",
    ]
