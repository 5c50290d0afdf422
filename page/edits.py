"""Which words of a text were edited, so that the page marks them.

N words after   B words before
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

MOST_COMPARED = 3_000  # words between the first and the last edit that are compared; it takes up to their square


def edited_words(before: Sequence[str], after: Sequence[str]) -> dict[int, str]:
    """Position of each edited word, int from 0 to N - 1, and a remark: what it was, or what was deleted beside it.

    Args:
        before: [B] words.
        after: [N] words.
    """
    first = 0
    while first < min(len(before), len(after)) and before[first] == after[first]:
        first += 1
    same = 0
    while same < min(len(before), len(after)) - first and before[-1 - same] == after[-1 - same]:
        same += 1
    old, new = before[first : len(before) - same], after[first : len(after) - same]
    if max(len(old), len(new)) > MOST_COMPARED:
        return dict.fromkeys(range(first, first + len(new)), "edited")
    remarks: dict[int, str] = {}
    changes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    for kind, old_first, old_end, new_first, new_end in changes:
        gone = f'"{" ".join(old[old_first:old_end])}"'
        if kind == "delete" and after:
            place = first + new_first
            where = "before" if place < len(after) else "after"
            remarks.setdefault(min(place, len(after) - 1), f"{gone} was deleted {where} it")
        elif kind in {"replace", "insert"}:
            remark = f"edited, was {gone}" if kind == "replace" else "added"
            remarks |= dict.fromkeys(range(first + new_first, first + new_end), remark)
    return remarks
