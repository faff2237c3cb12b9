"""What patterns of excluded paths mean, case by case."""

from __future__ import annotations

# Pattern, path, whether a folder is at the path, whether it is excluded.
PATTERNS = [
    ("*.log", "a.log", False, True),
    ("*.log", "d/e/a.log", False, True),
    ("*.log", "a.log/x", False, True),
    ("*.log", "a.logs", False, False),
    ("build/", "build", False, False),
    ("build/", "build", True, True),
    ("build/", "x/build/y", False, True),
    ("/build", "x/build", False, False),
    ("/build", "build/y", False, True),
    ("a/b", "a/b", False, True),
    ("a/b", "x/a/b", False, False),
    ("**/b", "x/a/b", False, True),
    ("**/b", "b", False, True),
    ("a/**/b", "a/b", False, True),
    ("a/**/b", "a/x/y/b", False, True),
    ("a/**/b", "ab", False, False),
    ("a/**", "a", True, False),
    ("a/**", "a/x", False, True),
    ("a*c", "a/c", False, False),
    ("a?c", "aéc", False, True),
    ("a?c", "a/c", False, False),
    ("[ab]x", "bx", False, True),
    ("[!ab]x", "bx", False, False),
    ("[a-c]x", "bx", False, True),
    ("a.c", "abc", False, False),
    ("(a|b)+{2}$^", "(a|b)+{2}$^", False, True),
    ("\\*", "*", False, True),
    ("\\*", "a", False, False),
    ("\\#x", "#x", False, True),
    ("x ", "x", False, True),
    ("*", "l\ni", False, True),
]
