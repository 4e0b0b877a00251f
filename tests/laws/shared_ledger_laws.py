"""Laws of contracts.shared_ledger.SharedLedger: inherit, give a `ledger` fixture."""

from concurrent.futures import ThreadPoolExecutor

from orchestrator.contracts.shared_ledger import SharedHead, Unnumbered


def entry(run, text):
    return Unnumbered(run, lambda number: f"{run}/{number}: {text}".encode())


class SharedLedgerLaws:
    def test_the_first_founds_the_log_and_nobody_else(self, ledger):
        assert ledger.about() == {}
        assert ledger.found({"origin": "a"}, [("log", 0, b"genesis")])
        assert not ledger.found({"origin": "b"}, [("log", 0, b"other")])
        assert ledger.about() == {"origin": "a"}
        assert ledger.entries(0, limit=9) == [b"genesis"]

    def test_each_run_is_numbered_without_gap_from_what_the_log_was_founded_with(self, ledger):
        ledger.found({"origin": "a"}, [("log", 0, b"genesis"), ("run-1", 0, b"first")])
        assert ledger.append([entry("run-1", "x"), entry("run-2", "y"), entry("run-1", "z")]) == range(2, 5)
        assert ledger.append([entry("log", "w")]) == range(5, 6)
        assert ledger.entries(2, limit=9) == [b"run-1/1: x", b"run-2/0: y", b"run-1/2: z", b"log/1: w"]
        assert ledger.entries(3, limit=1) == [b"run-2/0: y"]
        assert ledger.size() == 6

    def test_many_at_once_take_places_and_numbers_of_their_own(self, ledger):
        with ThreadPoolExecutor(8) as threads:
            places = list(threads.map(lambda n: ledger.append([entry("run-1", n)]).start, range(40)))
        assert sorted(places) == list(range(40))
        numbers = [int(data.split(b"/")[1].split(b":")[0]) for data in ledger.entries(0, limit=99)]
        assert numbers == list(range(40))

    def test_the_root_of_a_size_is_settled_once(self, ledger):
        assert ledger.settle(3, b"root") == b"root"
        assert ledger.settle(3, b"other") == b"root"
        assert ledger.heads(after=0) == []

    def test_the_first_note_of_a_size_is_the_one_that_counts(self, ledger):
        ledger.settle(3, b"root")
        assert ledger.sign(3, "mine") == "mine"
        assert ledger.sign(3, "another") == "mine"
        assert ledger.heads(after=0) == [SharedHead(1, 3, b"root", "mine")]

    def test_heads_are_told_in_the_order_in_which_they_were_signed(self, ledger):
        for size in (3, 7, 9):
            ledger.settle(size, b"root")
        for size in (7, 3):
            ledger.sign(size, f"note of {size}")
        assert [(head.number, head.size) for head in ledger.heads(after=0)] == [(1, 7), (2, 3)]
        assert ledger.heads(after=1) == [SharedHead(2, 3, b"root", "note of 3")]

    def test_artifacts_are_found_by_their_digest(self, ledger):
        ledger.keep_artifact("sha256:aa", b"content")
        ledger.keep_artifact("sha256:aa", b"content")
        assert ledger.artifact("sha256:aa") == b"content"
        assert ledger.artifact("sha256:bb") is None
