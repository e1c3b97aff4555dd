"""Folders that containers have written to: what is mounted in them, and files of other users, go with them."""

import os
import shutil
import subprocess
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are, whatever the PATH of a user: Debian leaves the folders of sbin out."""


def remove(folder: Path) -> None:
    """Remove a folder and what is in it; it may be gone."""
    mounted = Path("/proc/self/mounts")
    mounts = (line.split()[1] for line in mounted.read_text().splitlines()) if mounted.exists() else ()
    for mount in sorted((each for each in mounts if each.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True, env={"PATH": PATH}, check=False)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists() and shutil.which("buildah", path=PATH):
        # A container of a user who is not root writes as this user's sub-uids, whose files only they can remove.
        own = dict.fromkeys(("TMPDIR", "XDG_RUNTIME_DIR"), str(folder))
        command = ["buildah", "unshare", "find", str(folder), "-mindepth", "1", "-delete"]
        environment = {"PATH": PATH, "HOME": os.environ.get("HOME", "/"), **own}
        subprocess.run(command, capture_output=True, env=environment, check=False)
        shutil.rmtree(folder, ignore_errors=True)
