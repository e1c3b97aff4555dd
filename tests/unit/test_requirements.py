"""The requirements in a job's code, and the files that installing them needs."""

import pytest

from launch_agent.builder.requirements import find_requirements, wandb_warning
from launch_agent.image.dockerfile import Requirements

FROM_AN_INDEX = [
    "wandb",
    "torch==2.1.0+cu121",
    "numpy>=1,<3 ; python_version > '3.8'  # a comment",
    "requests[security]",
    "a==1 --hash=sha256:aa \\\n  --hash=sha256:bb",
    "https://example.com/x-1.0-py3-none-any.whl",
    "git+https://git.example.com/team/lib.git#egg=lib",
    "-e git+https://git.example.com/team/lib.git#egg=lib",
    "lib @ git+ssh://git@git.example.com/team/lib.git",
    "--extra-index-url https://download.pytorch.org/whl/cu117",
    "-f https://example.com/wheels",
    "--pre",
    "# -e .",
    "",
]
FROM_THE_CODE = [
    ".",
    "-e .",
    "--editable=libs/x[dev]",
    "libs/x",
    "./libs/x",
    "x @ ./libs/x",
    "x @ file:///opt/program/libs/x",
    "x-1.0-py3-none-any.whl",
    "lib.zip",
    "--find-links ./wheels",
    "--find-links wheels",
    "--no-index",
    '"libs/x"',
    "-r missing.txt",
    "-r ../outside.txt",
    "git+file:///srv/lib.git",
    "lib @ ${LIB}",
    "requests --config-settings x=y",
    "libs\\x",
    "not a requirement",
    "-e",
]


def found(files: dict[str, str]) -> Requirements:
    requirements = find_requirements({name: text.encode() for name, text in files.items()})
    assert requirements
    return requirements


@pytest.mark.parametrize("line", FROM_AN_INDEX)
def test_a_requirement_that_an_index_or_an_address_has_is_installed_without_the_code(line: str) -> None:
    requirements = found({"requirements.txt": f"{line}\nsix\n"})
    assert not requirements.needs_code
    assert set(requirements.files) == {"requirements.txt"}


@pytest.mark.parametrize("line", FROM_THE_CODE)
def test_a_requirement_that_may_be_in_the_code_is_installed_with_all_of_it(line: str) -> None:
    requirements = found({"requirements.txt": f"six\n{line}\n"})
    assert requirements.needs_code
    assert requirements.path == "requirements.txt"
    assert list(wandb_warning(requirements)) == []  # its requirements are not known


@pytest.mark.parametrize(
    "files",
    [
        {"requirements.txt": "-r requirements.lock\n", "requirements.lock": "wandb\n"},
        {"requirements.txt": "-rbase.txt\n", "base.txt": "wandb\n"},
        {"requirements.txt": "--requirement=base.in\n-c pins.txt\n", "base.in": "wandb\n", "pins.txt": "six==1\n"},
        {"requirements.txt": "-r 'my base.txt'\n", "my base.txt": "wandb\n"},
        {"requirements.txt": "\ufeff-r base.txt\n", "base.txt": "wandb\n"},
        {
            "requirements.txt": "-r deep/base.txt\n",
            "deep/base.txt": "-c ../pins.txt\n-r more.txt\n",
            "deep/more.txt": "wandb\n-r ../requirements.txt\n",
            "pins.txt": "",
        },
    ],
)
def test_what_a_requirements_file_includes_is_copied_too(files: dict[str, str]) -> None:
    requirements = found({**files, "train.py": ""})
    assert set(requirements.files) == set(files)
    assert not requirements.needs_code
    assert list(wandb_warning(requirements)) == []


def test_an_included_file_that_needs_the_code_needs_it_for_all() -> None:
    assert found({"requirements.txt": "wandb\n-r base.txt\n", "base.txt": "-e .\n"}).needs_code


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_with_a_byte_order_mark_is_copied_without_it(encoding: str) -> None:
    requirements = find_requirements({"requirements.txt": "wandb\n".encode(encoding)})
    assert requirements
    assert requirements.files == {"requirements.txt": b"wandb\n"}
    assert requirements.asks_for_wandb


PROJECT = '[project]\nname = "x"\n'


@pytest.mark.parametrize(
    "text",
    [
        f'{PROJECT}dependencies = ["wandb", "numpy>=1"]\n',  # no version, and it is not dynamic
        f'{PROJECT}dependencies = ["wandb", "numpy>=1"]\n[tool.uv]\nrequired-version = ">=99"\n',
        f'{PROJECT}dependencies = ["wandb", "numpy>=1"]\n[tool.uv]\nsources = 5\nindex = 5\n[tool.x]\ny = 5\n',
        f'{PROJECT}version = 5\nreadme = 5\ndependencies = ["wandb", "numpy>=1"]\n[build-system]\nrequires = 5\n',
        f'\ufeff{PROJECT}dependencies = ["wandb", "numpy>=1"]\n',
    ],
)
def test_of_a_pyproject_its_dependencies_are_installed_whatever_else_is_in_it(text: str) -> None:
    requirements = found({"pyproject.toml": text, "requirements.frozen.txt": "six==1\n"})
    assert requirements.files == {"dependencies.txt": b"wandb\nnumpy>=1\n"}
    assert not requirements.needs_code
    assert list(wandb_warning(requirements)) == []


SOURCES = f"""
{PROJECT}
dependencies = ["wandb", "mylib[all]>=1", "other", "torch>=2", "tool", "wheel ; python_version > '3'", "plain"]
[tool.uv.sources]
mylib = {{ path = "libs/mylib", editable = true }}
other = {{ workspace = true }}
torch = [{{ index = "pytorch", marker = "sys_platform == 'linux'" }}]
tool = {{ git = "https://git.example.com/tool", tag = "v1", subdirectory = "python" }}
wheel = {{ url = "https://example.com/wheel-1-py3-none-any.whl", marker = "os_name == 'posix'" }}
plain = {{ git = "https://git.example.com/plain", extra = "dev" }}
[tool.uv.workspace]
members = ["packages/*"]
[[tool.uv.index]]
name = "pytorch"
url = "https://download.pytorch.org/whl/cu128"
explicit = true
[[tool.uv.index]]
name = "never"
url = "https://example.com/simple"
explicit = true
"""


def test_the_sources_of_uv_are_kept() -> None:
    requirements = found({"pyproject.toml": SOURCES, "packages/other/pyproject.toml": '[project]\nname = "Other"\n'})
    assert requirements.needs_code
    assert requirements.path == "/opt/requirements/dependencies.txt"
    assert requirements.files["dependencies.txt"].decode().splitlines() == [
        "--extra-index-url https://download.pytorch.org/whl/cu128",
        "wandb",
        "mylib[all] @ file:///opt/program/libs/mylib",
        "other @ file:///opt/program/packages/other",
        "torch>=2",
        "tool @ git+https://git.example.com/tool@v1#subdirectory=python",
        """wheel @ https://example.com/wheel-1-py3-none-any.whl ; (python_version > "3") and (os_name == 'posix')""",
        "wheel ; python_version > '3'",
        "plain",
    ]


def test_a_member_that_is_not_there_is_had_from_an_index() -> None:
    requirements = found({"pyproject.toml": SOURCES})
    assert b"\nother\n" in requirements.files["dependencies.txt"]


@pytest.mark.parametrize(
    ("files", "warned"),
    [
        ({"requirements.txt": "numpy\nwandb>=0.20\n"}, ""),
        ({"requirements.txt": "Wandb[launch] ; python_version > '3.10'"}, ""),
        ({"requirements.txt": "git+https://github.com/wandb/wandb.git"}, ""),
        ({"requirements.txt": "wandb-workspaces\n# wandb\n"}, "requirements.txt does not include wandb"),
        ({"requirements.txt": "numpy\n-c pins.txt\n", "pins.txt": "wandb==0.20\n"}, "requirements.txt"),
        ({"pyproject.toml": '[project]\ndependencies = ["wandb==0.21"]\n'}, ""),
        (
            {"pyproject.toml": '[project]\ndependencies = ["numpy"]\n[tool.wandb]\n'},
            "pyproject.toml does not include wandb",
        ),
        ({"pyproject.toml": "project = wandb"}, "Nothing was installed"),
        ({"pyproject.toml": "project = 'wandb'"}, "Nothing was installed"),
        ({"requirements.frozen.txt": "numpy==2.0\n"}, "requirements.frozen.txt does not include wandb"),
        ({"requirements.frozen.txt": "wandb==0.22.0\n"}, ""),
        ({}, "Nothing was installed"),
    ],
)
def test_requirements_without_wandb_are_warned_of(files: dict[str, str], warned: str) -> None:
    requirements = find_requirements({name: text.encode() for name, text in files.items()})
    warnings = "".join(wandb_warning(requirements))
    assert warned in warnings
    assert bool(warned) == bool(warnings)


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml", "requirements.frozen.txt"])
@pytest.mark.parametrize(
    ("before", "piece", "after"),
    [
        ("", "--hash=sha256:aa ", ""),
        ("wandb ", "-r more.txt ", ""),
        ("", "a\\\n", ""),
        ("", "\n", ""),
        ("a ; ", "(", ""),
        ("a ; ", "os_name == 'a' and ", "os_name == 'a'"),
        ("", "a.", "a = 1"),
        ("[", "a.", "a]"),
        ("", '"a" . ', "a = 1"),
        ("a = ", "[", ""),
        ("a = ", "{a = ", ""),
        ("[project]\ndependencies = ['", "-r a ", "']"),
        ("[project]\ndependencies = ['a ; ", "(", "']"),
    ],
)
def test_a_megabyte_of_anything_is_read_in_time_in_proportion_to_its_length(
    name: str, before: str, piece: str, after: str
) -> None:
    text = before + piece * (1_000_000 // len(piece)) + after
    find_requirements({name: text.encode()})
