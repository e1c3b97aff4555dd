"""Removes folders that containers have written to, including mounts and files of other users in them."""

import os
import shutil
import subprocess
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The folders of programs, independent of the user's PATH: on Debian, that lacks the sbin folders."""


def remove(folder: Path) -> None:
    """Remove a folder and its contents, if it exists."""
    mounted = Path("/proc/self/mounts")
    mounts = (line.split()[1] for line in mounted.read_text().splitlines()) if mounted.exists() else ()
    for mount in sorted((each for each in mounts if each.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True, env={"PATH": PATH}, check=False)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists() and shutil.which("buildah", path=PATH):
        # In a rootless container, files belong to the user's sub-uids; only these can remove them.
        own = dict.fromkeys(("TMPDIR", "XDG_RUNTIME_DIR"), str(folder))
        command = ["buildah", "unshare", "find", str(folder), "-mindepth", "1", "-delete"]
        environment = {"PATH": PATH, "HOME": os.environ.get("HOME", "/"), **own}
        subprocess.run(command, capture_output=True, env=environment, check=False)
        shutil.rmtree(folder, ignore_errors=True)
