"""`python -m tests.words`: finds words that this project's plain English avoids, and says what to write instead."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
INSTEAD = {
    "anew": "again",
    "are away|is away": "is unavailable",
    "as wanted|is wanted|are wanted": "is fine, is required",
    "beside": "next to, in addition to, with",
    "came to nothing|come to nothing|comes to nothing": "failed",
    "for want of": "without, because there is no",
    "hear of|heard of|hears of": "is notified of, receives",
    "heed|heeded|heeds": "respond to",
    "in vain": "without success",
    "is told of|are told of|was told of|were told of": "is notified of",
    "lie in|lies in|lay in": "is in",
    "likewise": "also, in the same way",
    "made good|make good|makes good": "repair",
    "mend|mended|mending|mends": "fix",
    "nobody|nobody's": "no user, no caller",
    "reckon|reckoned": "calculate",
    "there is none": "it does not exist, there are no ...",
    "whatever it is at": "at any step",
    "whoever|whomever": "the user, the caller",
}
"""Words and phrases, and what to write instead. None of them is ever right here."""
_LEFT_OUT = re.compile(r"LICENSE|.*\.png|.*requirements.*\.txt|tests/(golden/.*/|upgrade/0\.1\.0/|words\.py).*")
_SEPARATOR = re.compile(r"[\s_#]+")
_BETTER = {phrase: better for words, better in INSTEAD.items() for phrase in words.split("|")}
_AVOIDED = re.compile(rf"(?<![^\W_])(?:{'|'.join(_BETTER).replace(' ', _SEPARATOR.pattern)})(?![^\W_])", re.IGNORECASE)
"""Finds them in names too, where an underscore separates words, and over the end of a line."""


def files() -> Iterator[str]:
    """Yield the paths of the files to search: those that git tracks or, without git, all."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    walked = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    kept = (str(path) for path in walked if not re.match(r"\.venv|\.git$", path.parts[0]))
    yield from (path for path in listed.splitlines() or kept if not _LEFT_OUT.fullmatch(path))


def faults(path: str) -> Iterator[tuple[int, str, str]]:
    """Yield each word to avoid in a file: its line, the word, and what to write instead."""
    text = (ROOT / path).read_text(errors="ignore") if (ROOT / path).is_file() else ""
    for found in _AVOIDED.finditer(text):
        better = _BETTER[_SEPARATOR.sub(" ", found[0].lower())]
        yield text.count("\n", 0, found.start()) + 1, " ".join(found[0].split()), better


def main() -> int:
    """Print the words to avoid in all files; return 1 if there are any."""
    lines = [f'{path}:{line}: "{word}": write "{better}"' for path in files() for line, word, better in faults(path)]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
