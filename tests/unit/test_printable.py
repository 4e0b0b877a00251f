"""Text of others on a terminal: layout stays, and nothing of it is obeyed."""

from orchestrator.foundation.printable import printable, printable_lines


def test_lines_stay_lines_and_are_indented_as_they_were():
    assert printable_lines("one of\n\tstart,\n\t\tstop") == "one of\n  start,\n    stop"


def test_what_a_terminal_would_obey_is_shown():
    assert printable_lines("a\x1b[2Jb\nc\td") == "a\\x1b[2Jb\nc\\td"
    assert printable("\tone") == "\\tone"
