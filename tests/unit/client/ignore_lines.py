"""Lines of `.gitignore` files, and paths that they may be about."""

from __future__ import annotations

from hypothesis import strategies as st

from sandbox_service.client.ignores import Ignores

NAMES = st.sampled_from(
    ["a", "b", "ab", "a.b", "x y", "é", "[a]", "!a", "#a", "a ", "-f", "*", "\\"]
)
PIECES = st.sampled_from(
    ["a", "b", "*", "?", "**", "[ab]", "[!a]", "[a-b]", "[]a]", "[[:alpha:]]", "\\*", "\\", ".",
     "é", "!", "#", " ", "[", "-f"]
)  # fmt: skip
GLOBS = st.lists(PIECES, min_size=1, max_size=3).map("".join)
LINES = st.builds(
    lambda start, globs, end: start + "/".join(globs) + end,
    st.sampled_from(["", "", "!", "/", "!/"]),
    st.lists(GLOBS, min_size=1, max_size=3),
    st.sampled_from(["", "", "/", "  ", "\r"]),
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def ignores(*lines: str, **deeper: str) -> Ignores:
    """Return the rules of a root's `.gitignore`, and of those in folders."""
    found = Ignores()
    found.add("\n".join(lines).encode(), "")
    for folder, text in deeper.items():
        found.add(text.encode(), folder)
    return found


def quirky(line: str) -> bool:
    """Return whether git reads a pattern in a way that its manual does not have.

    It takes off the part before the first special character, and then `**` behind a
    letter passes for one behind a slash.
    """
    return any(name.strip("*") and "**" in name for name in line.split("/"))
