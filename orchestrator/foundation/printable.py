"""Text that others wrote, made harmless for a terminal: shown, never obeyed."""

import re


def printable(text: str) -> str:
    """In one line, without what a terminal would obey: whatever is quoted must not write words of its own."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines, which stay lines, indented as they are."""
    indented = re.sub(r"^\t+", lambda tabs: "  " * len(tabs[0]), text, flags=re.MULTILINE)
    return "\n".join(map(printable, indented.split("\n")))
