"""Installs a job's requirements into the image that is built: `python install.py [--frozen] FILE`.

It runs in that image, with the job's Python (3.8 or newer), and needs only uv and pip. As in `wandb launch-agent`, uv
installs first, and pip tries what uv cannot install.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time

_UV = ["uv", "pip", "install", "--no-cache", "--index-strategy", "unsafe-best-match"]
"""As pip does, take the best version of all indexes, not of the first index that has the package."""
_PIP = ["python", "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check"]

_PIN = re.compile(r"(?P<name>[\w.-]+)\s*===?\s*[^\s+;]+(\+(?P<build>cu\d+|cpu|rocm[\d.]+|xpu))?")
_ELSEWHERE = re.compile(r"@\s*file:")
# The messages of the uv version in the image; the tests of this module run that uv.
_NO_SUCH_VERSION = ("No solution found when resolving dependencies", "error: Failed to parse:")
_UNREACHABLE = ("error sending request", "Request failed after", "HTTP status server error", "429 Too Many Requests")


class Unreachable(Exception):
    """An index could not be reached at any try."""


class Installer:
    """Installs packages into the virtual environment that is first on the path."""

    def __init__(self, waits: tuple[int, ...] = (5, 15, 30), pytorch: str = "https://download.pytorch.org/whl") -> None:
        """`waits` are the pauses between tries, in seconds, and `pytorch` is the address of PyTorch's indexes."""
        self._waits, self._pytorch = waits, pytorch

    def install(self, file: str) -> bool:
        """Install from a requirements file, with uv, else with pip; return whether that worked."""
        try:
            if self._uv("--requirement", file)[0] == 0:
                return True
        except Unreachable:
            pass  # pip needs only the indexes that can be reached
        say(f"uv could not install {file}; trying pip")
        is_installed = _run([*_PIP, "--requirement", file])[0] == 0
        say(f"pip installed {file}" if is_installed else f"neither uv nor pip could install {file}")
        return is_installed

    def install_frozen(self, text: str) -> bool:
        """Install the packages of a frozen list that an index has; return whether all of these are installed.

        The list may be from another machine, with packages that no index has. It is complete, so if its packages
        conflict, they are installed without checking dependencies.
        """
        packages, options = self.read_frozen(text)
        try:
            if self._install_whole(packages, options):
                return True
            say("the list cannot be installed as a whole; trying each package")
            outcomes = {package: self._install_one(package, options) for package in packages}
        except Unreachable:
            say("an index cannot be reached, so it is not known which packages it has")
            return False
        for package in [each for each, outcome in outcomes.items() if outcome is None]:
            say(f"not installed: {package}")  # image.dockerfile, which is not in the image, has these words too
        failed = [each for each, outcome in outcomes.items() if outcome is False]
        if failed:
            say(f"neither uv nor pip could install {', '.join(failed)}")
        elif True not in outcomes.values():
            say("no index has any of the packages")
        return not failed and True in outcomes.values()

    def read_frozen(self, text: str) -> tuple[list[str], list[str]]:
        """Return the packages of a frozen list and the options to install them with.

        PyTorch's builds for each version of CUDA have their own index
        (https://pytorch.org/get-started/previous-versions).
        """
        lines = [re.split(r"(?:^|\s)#", line)[0].strip() for line in text.splitlines()]
        options = [line for line in lines if line.startswith("--")]
        packages = [line for line in lines if line and not line.startswith("--")]
        pins = [pin for package in packages if (pin := _PIN.match(package))]
        builds = dict.fromkeys(pin["build"] for pin in pins if pin["build"])
        return packages, [*options, *(f"--extra-index-url {self._pytorch}/{build}" for build in builds)]

    def _install_whole(self, packages: list[str], options: list[str]) -> bool:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("".join(f"{line}\n" for line in [*options, *packages]))
            file.flush()
            return any(self._uv(*more, "--requirement", file.name)[0] == 0 for more in ((), ("--no-deps",)))

    def _install_one(self, package: str, options: list[str]) -> bool | None:
        """Install one package; return None if no index has this version, and False if the installation failed."""
        if _ELSEWHERE.search(package):
            return None  # a file on the machine that the list is from
        words = [word for option in options for word in option.split()]
        what = package.split() if package.startswith("-") else [package]
        code, output = self._uv("--no-deps", *words, *what)
        if code == 0:
            return True
        if any(sign in output for sign in _NO_SUCH_VERSION):
            # No index has wandb's development versions. Without wandb the run would never appear.
            return self._uv("wandb")[0] == 0 if re.match(r"wandb\s*==", package) else None
        return _run([*_PIP, "--no-deps", *words, *what])[0] == 0

    def _uv(self, *arguments: str) -> tuple[int, str]:
        """Run uv, again after a pause if an index could not be reached; return its exit code and output.

        Raises Unreachable.
        """
        for wait in (*self._waits, None):
            code, output = _run([*_UV, *arguments])
            if code == 0 or not any(sign in output for sign in _UNREACHABLE):
                return code, output
            if wait is not None:
                say(f"an index cannot be reached; trying again in {wait} s")
                time.sleep(wait)
        raise Unreachable


def _run(command: list[str]) -> tuple[int, str]:
    shown = re.sub(r"//[^/\s@]+@", "//...@", " ".join(command))  # an index address can have a password
    print("+", shown, flush=True)
    output = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            output.append(line)
    return process.returncode, "".join(output)


def say(words: str) -> None:
    """Write a line into the log of the build."""
    print(f"launch-agent: {words}", flush=True)


def use_secrets(folder: str) -> None:
    """Give uv and pip the secrets that are mounted for this command: variables, and a netrc file."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        if name == "netrc":
            os.environ["NETRC"] = path  # noqa: TID251 - it runs in the image
        else:
            with open(path, encoding="utf-8") as file:
                os.environ[name] = file.read()  # noqa: TID251 - as above


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit code."""
    use_secrets("/run/secrets")
    if arguments[0] != "--frozen":
        return 0 if Installer().install(arguments[0]) else 1
    with open(arguments[1], encoding="utf-8") as file:
        return 0 if Installer().install_frozen(file.read()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
