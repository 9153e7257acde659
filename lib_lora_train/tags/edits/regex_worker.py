"""Runs a user's regular expressions in a process of its own, where one that never ends can be ended.

Started as a script by `regexes.py`, without this package: it reads one JSON object from its standard input and writes
one to its standard output. Python cannot interrupt an expression at work; so besides being killed by whoever waits, the
process ends itself after its time, in case nobody waits any more.
"""

import faulthandler
import json
import os
import re
import sys
from pathlib import Path


def main():
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        task = json.loads(sys.stdin.buffer.read())
        faulthandler.dump_traceback_later(task["seconds"], exit=True, file=nowhere)
        limit_memory(task["memory"])
        answer = answered(task)
        sys.stdout.buffer.write(json.dumps(answer).encode("ascii"))
        sys.stdout.buffer.flush()
        faulthandler.cancel_dump_traceback_later()


def limit_memory(limit):
    """Where the system can; elsewhere the time is the limit."""
    try:
        import resource
    except ImportError:
        return
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (OSError, ValueError):
        return


def answered(task):
    flags = re.IGNORECASE if task["ignore_case"] else 0
    try:
        patterns = [re.compile(pattern, flags) for pattern in task["patterns"]]
        if task["how"] == "spans":
            return {"spans": spans(patterns, task["texts"], task["most"])}
        return {"texts": substituted(patterns[0], task["replacement"], task["texts"], task["longest"], task["most"])}
    except re.error as error:
        return {"error": "syntax", "reason": error.msg, "position": -1 if error.pos is None else error.pos}
    except IndexError as error:
        return {"error": "syntax", "reason": str(error), "position": -1}
    except (OverflowError, RecursionError, MemoryError, ValueError):
        return {"error": "large"}


def spans(patterns, texts, most):
    """None for a text in which nothing is found; finding nothing at some place is finding. Raises ValueError."""
    results, total = [], 0
    for text in texts:
        found = [match.span() for pattern in patterns for match in pattern.finditer(text)]
        total += len(found)
        if total > most:
            raise ValueError("too much")
        results.append([span for span in found if span[0] < span[1]] if found else None)
    return results


def substituted(pattern, replacement, texts, longest, most):
    """None for what stays as it is. Raises ValueError where a text, or all together, become too long."""
    results, total = [], 0
    for text in texts:
        if len(text) * len(replacement) > longest and grown(pattern, text, len(replacement)) > longest:
            raise ValueError("too long")
        new = pattern.sub(replacement, text)
        total += len(new)
        if len(new) > longest or total > most:
            raise ValueError("too long")
        results.append(None if new == text else new)
    return results


def grown(pattern, text, length):
    """At least as many characters as a replacement of `length` will make of the text, groups in it left out."""
    return len(text) + sum(length for _ in pattern.finditer(text))


if __name__ == "__main__":
    main()
