"""Questions in a terminal."""

import getpass
import sys
import textwrap
from collections.abc import Callable
from functools import partial

from operate.errors import CannotOperate
from operate.template import Parameter

_WIDTH = 100
_fill = partial(textwrap.fill, width=_WIDTH, break_long_words=False, break_on_hyphens=False)


def in_terminal() -> bool:
    """Return whether the command runs in a terminal, with a person to ask."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask(parameter: Parameter) -> str:
    """Show a parameter's description and ask until the answer is valid; Enter selects the default."""
    say(f"\n{parameter.description}", indent="  ")
    default = f" [{parameter.default}]" if parameter.default else ""
    return _until(lambda: input(f"  {parameter.name}{default}: ").strip() or parameter.default or "", parameter.fault)


def ask_secret(prompt: str, fault: Callable[[str], str | None]) -> str:
    """Ask for a secret until `fault` finds nothing wrong; the typed text is hidden."""
    return _until(lambda: getpass.getpass(f"  {prompt}: ").strip(), fault)


def confirm(question: str, *, default: bool) -> bool:
    """Ask a yes-or-no question; Enter selects the default."""
    answer = _answered(lambda: input(f"\n{question} [{'Y/n' if default else 'y/N'}] ")).strip().lower()
    return default if not answer else answer in ("y", "yes")


def say(text: str, indent: str = "") -> None:
    """Print a text, wrapped for a terminal. Use `print` for text that people copy."""
    for line in text.splitlines():
        print(_fill(line, initial_indent=indent, subsequent_indent=indent))


def _until(read: Callable[[], str], fault: Callable[[str], str | None]) -> str:
    while True:
        answer = _answered(read)
        wrong = fault(answer)
        if wrong is None:
            return answer
        say(wrong, indent="  ")


def _answered(read: Callable[[], str]) -> str:
    try:
        return read()
    except EOFError:
        raise CannotOperate("No answer was given. Nothing was deployed or deleted.") from None
