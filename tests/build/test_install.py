"""Installing packages into an image, with an image's real uv and pip, from a local index."""

import importlib.metadata
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launch_agent.builder.install import Installer, use_secrets
from launch_agent.image.dockerfile import NOT_INSTALLED
from local.demo.git_server import make_repository
from tests.build.package_index import PackageIndex, Packages, package_index, wheel

ROOT = Path(__file__).parent.parent.parent
PACKAGES: Packages = {
    "six": {"1.16.0": (), "1.17.0": ()},
    "old": {"1.0": ("six==1.17.0",)},
    "wandb": {"0.22.0": (), "0.23.0": ()},
    "torch": {"2.1.0": (), "2.1.0+cu121": ()},
    "torchvision": {"0.16.0+cu121": ()},
}
BACKEND = (
    f"""
import io, pathlib, zipfile
{inspect.getsource(wheel)}
"""
    + """
def build_wheel(folder, settings=None, metadata=None):
    name = pathlib.Path("name").read_text()
    pathlib.Path(folder, f"{name}-4.5-py3-none-any.whl").write_bytes(wheel(name, "4.5"))
    return f"{name}-4.5-py3-none-any.whl"

build_editable = build_wheel
"""
)


def project(name: str) -> dict[str, str]:
    """Return the files of a project that needs no other package to be built."""
    build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    return {"pyproject.toml": build, "backend.py": BACKEND, "name": name}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, str]]:
    """Use a fresh environment; return a function that lists its packages."""
    folder = tmp_path / "venv"
    subprocess.run([str(ROOT / ".venv/bin/uv"), "venv", "-q", "-p", sys.executable, str(folder)], check=True)
    packages_folder = next(folder.glob("lib/*/site-packages"))
    (packages_folder / "pip").symlink_to(str(importlib.metadata.distribution("pip").locate_file("pip")))
    monkeypatch.setenv("VIRTUAL_ENV", str(folder))
    monkeypatch.setenv("PATH", f"{folder}/bin:{ROOT}/.venv/bin:{os.environ['PATH']}")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.chdir(tmp_path)

    def packages() -> dict[str, str]:
        return dict(each.stem.split("-", 1) for each in packages_folder.glob("*.dist-info"))

    return packages


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    with package_index(PACKAGES) as running:
        use(running, monkeypatch)
        yield running


def use(index: PackageIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"{index.url}/simple")
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple")


Installed = Callable[[], dict[str, str]]


# --- frozen lists
def test_a_frozen_list_is_installed_but_for_what_no_index_has(
    installed: Installed, index: PackageIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    frozen = (
        "# made on a Mac\nsix==1.16.0\npyobjc==10.0\nsix2==99\ndistro-info===1.1build1\nx @ file:///opt/x  # conda\n"
    )
    assert Installer(()).install_frozen(frozen)
    assert installed() == {"six": "1.16.0"}
    left_out = [line for line in capsys.readouterr().out.splitlines() if line.startswith(NOT_INSTALLED)]
    assert [line.removeprefix(NOT_INSTALLED).strip() for line in left_out] == [
        "pyobjc==10.0",
        "six2==99",
        "distro-info===1.1build1",
        "x @ file:///opt/x",
    ]


def test_a_frozen_list_that_contradicts_itself_is_installed_as_it_is(installed: Installed, index: PackageIndex) -> None:
    assert Installer(()).install_frozen("six==1.16.0\nold==1.0\n")
    assert installed() == {"six": "1.16.0", "old": "1.0"}


def test_a_frozen_list_that_is_not_complete_gets_its_dependencies(installed: Installed, index: PackageIndex) -> None:
    assert Installer(()).install_frozen("old==1.0\n")
    assert installed() == {"six": "1.17.0", "old": "1.0"}


@pytest.mark.parametrize("wandb", ["wandb==0.17.0.dev1", "wandb==0.22.0+local"])
def test_a_wandb_that_no_index_has_is_the_newest_one(wandb: str, installed: Installed, index: PackageIndex) -> None:
    assert Installer(()).install_frozen(f"{wandb}\nsix==1.16.0\n")
    assert installed() == {"six": "1.16.0", "wandb": "0.23.0"}


def test_pytorchs_builds_come_from_the_index_of_their_cuda(installed: Installed, index: PackageIndex) -> None:
    frozen = "torch==2.1.0+cu121\ntorchvision==0.16.0+cu121\nsix==1.16.0\n"
    assert Installer((), pytorch=f"{index.url}/whl").install_frozen(frozen)
    assert installed() == {"six": "1.16.0", "torch": "2.1.0+cu121", "torchvision": "0.16.0+cu121"}


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("torch==2.1.0+cu121", "https://download.pytorch.org/whl/cu121"),
        ("torchaudio == 2.3.0+cpu", "https://download.pytorch.org/whl/cpu"),
        ("xformers==0.0.22.post7+cu118", "https://download.pytorch.org/whl/cu118"),
        ("torch==2.4.1+rocm6.1", "https://download.pytorch.org/whl/rocm6.1"),
        ("python-apt==2.4.0+ubuntu1", None),
        ("torch==2.1.0", None),
    ],
)
def test_the_index_of_a_build_is_in_its_version(line: str, option: str | None) -> None:
    packages, options = Installer().read_frozen(f"{line}\n")
    assert packages == [line]
    assert options == ([f"--extra-index-url {option}"] if option else [])


def test_an_unavailable_index_fails_the_build(
    installed: Installed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    assert not Installer((0, 0)).install_frozen("six==1.16.0\nwandb==0.22.0\n")
    assert installed() == {}
    told = capsys.readouterr().out
    assert told.count("trying again in 0 s") == 2
    assert NOT_INSTALLED not in told


@pytest.mark.parametrize("status", [503, 429])
def test_an_index_that_is_back_after_a_while_is_asked_again(
    status: int, installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with package_index(PACKAGES, refusals=2, status=status) as index:
        use(index, monkeypatch)
        assert Installer((0, 0)).install_frozen("six==1.16.0\n")
    assert installed() == {"six": "1.16.0"}


def test_an_unavailable_index_of_a_build_fails_the_build(installed: Installed, index: PackageIndex) -> None:
    assert not Installer((), pytorch="http://127.0.0.1:9").install_frozen("six==1.16.0\ntorch==2.1.0+cu121\n")


def test_a_list_of_which_nothing_can_be_had_is_no_image(installed: Installed, index: PackageIndex) -> None:
    assert not Installer(()).install_frozen("one==1\ntwo==2\n")


def test_a_package_that_cannot_be_built_fails_the_build(
    installed: Installed, index: PackageIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/setup.py").write_text("raise SystemExit('no such header')\n")
    assert not Installer(()).install_frozen(f"six==1.16.0\n-e {tmp_path}/broken\n")
    told = capsys.readouterr().out
    assert f"neither uv nor pip could install -e {tmp_path}/broken" in told
    assert NOT_INSTALLED not in told


# --- requirements files
def test_the_best_version_of_all_indexes_is_taken_as_pip_does(
    installed: Installed, index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with package_index({"six": {"1.5": ()}, "torch": {"2.1.0": ()}}) as second:
        (tmp_path / "requirements.txt").write_text(
            f"--extra-index-url {second.url}/simple\ntorch==2.1.0\nsix==1.16.0\nwandb\n"
        )
        assert Installer(()).install("requirements.txt")
    assert installed() == {"six": "1.16.0", "torch": "2.1.0", "wandb": "0.23.0"}


def test_what_only_pip_installs_is_installed_by_pip_and_said_so(
    installed: Installed, index: PackageIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_repository(project("lib"), tmp_path / "lib.git")
    (tmp_path / "requirements.txt").write_text(f"-e git+file://{tmp_path}/lib.git#egg=lib\nsix==1.16.0\n")
    assert Installer(()).install("requirements.txt")
    assert installed()["six"] == "1.16.0"
    told = capsys.readouterr().out
    assert "uv could not install requirements.txt; trying pip" in told
    assert "pip installed requirements.txt" in told


def test_pip_ignores_an_unavailable_extra_index(installed: Installed, index: PackageIndex, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("--extra-index-url http://127.0.0.1:9/simple\nsix==1.16.0\n")
    assert Installer(()).install("requirements.txt")
    assert installed() == {"six": "1.16.0"}


@pytest.mark.parametrize(
    "requirements",
    [
        {"requirements.txt": "wandb\nlibs/mylib\n"},
        {"requirements.txt": "wandb\nmylib @ ./libs/mylib\n"},
        {"requirements.txt": "-r requirements.lock\n./libs/mylib\n", "requirements.lock": "wandb\n"},
        {"requirements.txt": "-rbase.txt\n-e libs/mylib\n", "base.txt": "wandb\n"},
        {"requirements.txt": "wandb\n--find-links ./libs/wheels\nmylib\n"},
    ],
)
def test_packages_in_the_code_are_installed_as_with_pip(
    requirements: dict[str, str], installed: Installed, index: PackageIndex, tmp_path: Path
) -> None:
    inside = {f"libs/mylib/{path}": text for path, text in project("mylib").items()}
    for name, text in {**requirements, **inside, "libs/wheels/.keep": ""}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "libs/wheels/mylib-4.5-py3-none-any.whl").write_bytes(wheel("mylib", "4.5"))
    assert Installer(()).install("requirements.txt")
    assert installed() == {"mylib": "4.5", "wandb": "0.23.0"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_matter(
    encoding: str, installed: Installed, index: PackageIndex, tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_bytes("wandb\n".encode(encoding))
    assert Installer(()).install("requirements.txt")
    assert installed() == {"wandb": "0.23.0"}


def test_what_neither_can_install_fails_the_build(
    installed: Installed, index: PackageIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "requirements.txt").write_text("six==99\n")
    assert not Installer(()).install("requirements.txt")
    assert "neither uv nor pip could install requirements.txt" in capsys.readouterr().out


def test_a_password_of_an_index_is_not_printed(
    installed: Installed, index: PackageIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = index.url.replace("//", "//user:s3cret@")
    Installer(()).install_frozen(f"--extra-index-url {secret}/simple\nsix==1.16.0\nnone==1\n")
    assert "s3cret" not in capsys.readouterr().out


# --- private indexes
SIGN_IN = "reader:s3cret-of-the-index"


@pytest.mark.parametrize("program", ["uv", "pip"])
@pytest.mark.parametrize("way", ["variables", "netrc"])
def test_a_private_index_is_signed_in_to_with_the_secrets_that_are_mounted(
    way: str,
    program: str,
    installed: Installed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with package_index(PACKAGES, sign_in=SIGN_IN) as index:
        use(index, monkeypatch)
        monkeypatch.setenv("NETRC", os.devnull)
        (tmp_path / "requirements.txt").write_text("six==1.16.0\n")
        assert not Installer(()).install("requirements.txt")
        folder = tmp_path / "secrets"
        folder.mkdir()
        address = index.url.replace("//", f"//{SIGN_IN}@") + "/simple"
        user, _, password = SIGN_IN.partition(":")
        files = {"UV_DEFAULT_INDEX": address, "PIP_INDEX_URL": address}
        if way == "netrc":
            files = {"netrc": f"machine 127.0.0.1 login {user} password {password}\n"}
        for name, value in files.items():
            (folder / name).write_text(value)
        use_secrets(str(folder))
        if program == "pip":
            monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
        assert Installer(()).install("requirements.txt")
    assert installed()["six"] == "1.16.0"
    assert password not in capsys.readouterr().out


def test_without_secrets_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", "mine")
    use_secrets(str(tmp_path / "missing"))
    assert os.environ["NETRC"] == "mine"
