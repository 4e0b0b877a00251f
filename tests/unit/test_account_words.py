"""An account of writes says what was counted, and in plain words what nobody knows."""

import pytest

from orchestrator.cli.accounts import account_lines
from orchestrator.contracts.trees import FileState, PartedFile
from orchestrator.steps.accounting import account_text, kind_of_change

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
    found = {"paths": 22, "only": 20, "changed_both": 2, "file_bytes": 4096, "named": [], "beside_only": 300}
    told = account_text(account(attachments=found))
    assert told == (
        "only at source, not at cloud: 22 files of 4096 bytes (20 only at source, 2 changed at both); "
        "of files, 300 only at cloud"
    )


MET = 1_700_000_000 * 10**9
OLD, NEW = FileState(7, MET - 1), FileState(8, MET + 1)


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (NEW, None, "only"),
        (OLD, None, "only"),  # restored with the time that it had, or renamed: its time says nothing of the other side
        (None, OLD, "beside_only"),
        (NEW, OLD, "changed"),
        (NEW, NEW._replace(bytes=9), "changed_both"),
        (OLD, NEW, "changed_beside"),
        (OLD, OLD._replace(bytes=9), "changed_unknown"),
    ],
)
def test_whose_change_it_is_since_both_sides_were_the_same(one, other, kind):
    assert kind_of_change(PartedFile("a", one, other), MET) == kind
    if None not in (one, other):
        assert kind_of_change(PartedFile("a", one, other), None) == "changed_unknown"


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
