"""What is deployed has licences that ask for no more than a notice."""

from importlib.metadata import version
from pathlib import Path

import pytest

from tests.documents import ROOT
from tests.licences import ALLOWED, LOCKS, licensed, main


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: f"{lock.parent.name}/{lock.name}")
def test_every_locked_package_has_an_allowed_licence(lock: Path) -> None:
    packages = list(licensed(lock))
    assert packages
    assert [each for each in packages if not ALLOWED.issuperset(each.licences)] == []


def test_every_lock_of_what_is_deployed_is_looked_at() -> None:
    texts = (ROOT / "layers/launch_agent").rglob("*.txt")
    assert {path for path in texts if "--hash=" in path.read_text()} == set(LOCKS)


@pytest.mark.parametrize(
    ("described", "code"),
    [
        ("License-Expression: MIT", 0),
        ("License-Expression: GPL-3.0-only", 1),
        ("License: MIT", 0),
        ("License: GPL-3.0\n        and more", 1),
        ("Classifier: License :: OSI Approved :: MIT License", 0),
        (
            "Classifier: License :: OSI Approved :: MIT License\n"
            "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
            1,
        ),
        ("Summary: no licence", 1),
    ],
)
def test_make_licences_fails_for_a_package_with_another_licence(
    described: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a_package-1.0.dist-info").mkdir()
    (tmp_path / "a_package-1.0.dist-info/METADATA").write_text(f"Name: a-package\nVersion: 1.0\n{described}\n")
    monkeypatch.syspath_prepend(tmp_path)
    lock = tmp_path / "requirements.txt"
    lock.write_text("a-package==1.0 \\\n    --hash=sha256:0\n")
    assert main([lock]) == code
    assert f"licences: 1 packages, {code} with a licence that is not in ALLOWED" in capsys.readouterr().out


def test_a_package_with_another_licence_is_found(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    here = f"pytest=={version('pytest')} ; sys_platform != 'none'"
    lock.write_text(f"a-package-for-no-system==1.0 ; sys_platform == 'none'\n{here} \\\n")
    (package,) = licensed(lock)
    assert package.name == "pytest"
    assert ALLOWED.issuperset(package.licences)
    assert not ALLOWED.issuperset(("MIT", "GPL-3.0"))
