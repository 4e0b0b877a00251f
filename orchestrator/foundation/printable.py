"""Text that others wrote, made harmless for a terminal: shown, never obeyed."""


def printable(text: str) -> str:
    """In one line, without what a terminal would obey: whatever is quoted must not write words of its own."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines, which stay lines."""
    return "\n".join(map(printable, text.split("\n")))
