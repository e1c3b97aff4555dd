"""Docker builds images that SageMaker accepts, gets no credentials, and is retried when a registry refuses."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from launch_agent.builder.docker import Order, build, keep_from_credentials, sign_in, start_buildkit
from launch_agent.errors import ImageBuildFailed
from launch_agent.image.pins import FRONTEND, pinned

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/launch:tag"
BUILDKIT = "mirror.gcr.io/moby/buildkit:buildx-stable-1"
LIMITED = "ERROR: failed to solve: python: toomanyrequests: You have reached your unauthenticated pull rate limit."

Machine = Callable[..., Callable[[], list[str]]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose programs record their calls and run a test's script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(**scripts: str) -> Callable[[], list[str]]:
        for name, script in scripts.items():
            program = folder / name
            program.write_text(f'#!/bin/bash\necho "{name} $*" >> {tmp_path}/asked\n{script}\n')
            program.chmod(0o755)
        return lambda: (tmp_path / "asked").read_text().splitlines() if (tmp_path / "asked").exists() else []

    return make


@pytest.fixture
def order(tmp_path: Path) -> Order:
    return Order(IMAGE, f"{IMAGE}-cache", "linux/amd64", tmp_path / "Dockerfile", tmp_path / "code", "FROM python\n")


def test_containers_are_kept_from_link_local_addresses_but_for_name_servers(machine: Machine) -> None:
    asked = machine(iptables="exit 0")
    keep_from_credentials()
    rule = "iptables --wait --insert DOCKER-USER --destination 169.254.0.0/16"
    assert asked() == [
        f"{rule} --jump REJECT",
        f"{rule} --protocol tcp --dport 53 --jump RETURN",
        f"{rule} --protocol udp --dport 53 --jump RETURN",
    ]


@pytest.mark.parametrize("scripts", [{"iptables": "echo 'no chain by that name' >&2; exit 1"}, {}])
def test_where_they_cannot_be_kept_from_them_nothing_is_built(machine: Machine, scripts: dict[str, str]) -> None:
    machine(**scripts)
    with pytest.raises(ImageBuildFailed, match="access to the build machine's credentials could not be blocked"):
        keep_from_credentials()


def test_the_image_is_in_dockers_format_and_layers_are_kept(machine: Machine, order: Order) -> None:
    asked = machine(docker="echo '#1 DONE'")
    said: list[str] = []
    assert build(order, said.append, with_buildkit=True) == ()
    (command,) = asked()
    assert f"--builder launch-agent --progress plain --platform linux/amd64 --file {order.dockerfile}" in command
    assert f"--provenance=false --sbom=false --output type=image,name={IMAGE},push=true,oci-mediatypes=false" in command
    assert (
        f"--cache-from type=registry,ref={IMAGE}-cache --cache-to type=registry,ref={IMAGE}-cache,mode=max" in command
    )
    assert command.endswith(f" {order.context}")
    assert "BUILDKIT_SYNTAX" not in command
    assert said == ["#1 DONE"]


def test_dockers_own_builder_keeps_no_layers(machine: Machine, order: Order) -> None:
    asked = machine(docker="exit 0")
    build(order, print, with_buildkit=False)
    (command,) = asked()
    assert "--builder default" in command
    assert "cache" not in command.removesuffix(str(order.context))
    assert f"--output type=image,name={IMAGE},push=true,oci-mediatypes=false" in command


@pytest.mark.parametrize(
    "text",
    [
        "# syntax=evil.example/frontend\nFROM x\n",
        "#Syntax = evil.example/frontend\nFROM x\n",
        "\ufeff# escape=`\n# SYNTAX=evil.example/frontend\n",
        "#!/bin/x\n// syntax=evil.example/frontend\n",
        '{"\\u0073yntax": "evil.example/frontend"}',
        '\n  {"syntax": "evil.example/frontend"}',
        "\n" * 100_000 + '\t\u00a0\r{"\\u0073yntax": "evil.example/frontend"}',
    ],
    ids=range(7),
)
def test_a_dockerfile_does_not_choose_who_reads_it(machine: Machine, order: Order, text: str) -> None:
    asked = machine(docker="exit 0")
    build(order._replace(text=text), print, with_buildkit=True)
    assert f"--build-arg BUILDKIT_SYNTAX={pinned(FRONTEND)} " in asked()[0]


def test_docker_learns_nothing_of_the_build_role_and_does_not_ask_git_about_the_code(
    machine: Machine, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(docker="env")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/guid")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    said: list[str] = []
    build(order, said.append, with_buildkit=True)
    assert "BUILDX_GIT_INFO=false" in said
    assert "BUILDX_GIT_LABELS=false" in said
    assert "BUILDX_NO_DEFAULT_ATTESTATIONS=1" in said
    assert not [line for line in said if line.startswith(("AWS_CONTAINER", "AWS_SECRET"))]
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "key"


def test_a_registry_that_is_asked_too_often_is_asked_again_later(
    machine: Machine, order: Order, tmp_path: Path
) -> None:
    asked = machine(docker=f"[ -e {tmp_path}/again ] && exit 0\ntouch {tmp_path}/again\necho '{LIMITED}'\nexit 1")
    waits: list[float] = []
    build(order, print, with_buildkit=True, pause=waits.append)
    assert (len(asked()), waits) == (2, [30])


def test_it_is_not_asked_for_ever(machine: Machine, order: Order) -> None:
    asked = machine(docker=f"echo '{LIMITED}'; exit 1")
    waits: list[float] = []
    with pytest.raises(ImageBuildFailed, match="toomanyrequests"):
        build(order, print, with_buildkit=True, pause=waits.append)
    assert (len(asked()), waits) == (4, [30, 90, 300])


def test_what_a_dockerfile_prints_is_no_reason_to_try_again(machine: Machine, order: Order) -> None:
    asked = machine(
        docker="echo '#9 1.2 ERROR: 429 Too Many Requests'; echo 'ERROR: failed to solve: exit code: 1'; exit 1"
    )
    with pytest.raises(ImageBuildFailed, match=r"^docker buildx build failed: failed to solve: exit code: 1$"):
        build(order, print, with_buildkit=True, pause=lambda _: pytest.fail("it was tried again"))
    assert len(asked()) == 1


def test_packages_that_could_not_be_installed_are_told_once_and_not_without_end(machine: Machine, order: Order) -> None:
    lines = [f"#9 1.{n} launch-agent: not installed: package{n % 150}==1" for n in range(400)]
    machine(docker="\n".join(f"echo '{line}'" for line in lines))
    missing = build(order, lambda _: None, with_buildkit=True)
    assert missing == tuple(f"package{n}==1" for n in range(100))


def test_buildkits_image_is_the_one_that_was_chosen(machine: Machine) -> None:
    asked = machine(docker="exit 0")
    assert start_buildkit(BUILDKIT, print)
    assert asked() == [
        f"docker buildx create --name launch-agent --driver docker-container --driver-opt image={BUILDKIT} --bootstrap"
    ]


def test_without_buildkit_docker_itself_builds_in_the_end(machine: Machine) -> None:
    asked = machine(docker="echo 'toomanyrequests: slow down' >&2; exit 1")
    said: list[str] = []
    waits: list[float] = []
    assert not start_buildkit(BUILDKIT, said.append, waits.append)
    assert waits == [5, 20, 60]
    assert len([line for line in asked() if "create" in line]) == 4
    assert said[-1].startswith("BuildKit did not start: toomanyrequests: slow down. Docker itself builds the image")


def test_a_password_is_typed_and_not_an_argument(machine: Machine, tmp_path: Path) -> None:
    asked = machine(docker=f"cat > {tmp_path}/typed")
    sign_in("public.ecr.aws", "the password")
    assert (tmp_path / "typed").read_text() == "the password"
    assert "the password" not in asked()[0]
    machine(docker="exit 7")
    with pytest.raises(ImageBuildFailed, match=r"could not sign in to public\.ecr\.aws"):
        sign_in("public.ecr.aws", "p" * 100_000)


def test_output_without_end_is_kept_in_part(machine: Machine, order: Order) -> None:
    machine(docker="head -c 3000000 /dev/zero | tr '\\0' x; echo; printf 'a\\rb\\nlast'; exit 1")
    longest = 0

    def say(line: str) -> None:
        nonlocal longest
        longest = max(longest, len(line))

    with pytest.raises(ImageBuildFailed, match="last"):
        build(order, say, with_buildkit=True)
    assert longest == 1 << 16


@pytest.mark.parametrize("piece", ["\n", " ", "\t\n", " \n", "{", "\r", "synta"])
def test_a_dockerfile_of_a_megabyte_is_read_in_time_in_proportion_to_its_length(
    machine: Machine, order: Order, piece: str
) -> None:
    machine(docker="exit 0")
    build(order._replace(text="FROM x\n" + piece * (1_000_000 // len(piece))), print, with_buildkit=True)


def test_secrets_are_mounted_from_files_and_their_values_are_no_arguments(
    machine: Machine, order: Order, tmp_path: Path
) -> None:
    asked = machine(docker="env")
    secret = tmp_path / "UV_INDEX_TEAM_PASSWORD"
    secret.write_text("s3cret-of-the-index")
    said: list[str] = []
    build(order._replace(secrets={secret.name: secret}), said.append, with_buildkit=True)
    assert f"--secret id=UV_INDEX_TEAM_PASSWORD,src={secret} {order.context}" in asked()[0]
    assert "s3cret" not in "".join([*asked(), *said])


PROXIES = {"HTTPS_PROXY": "http://proxy.example.com:3128", "NO_PROXY": ".amazonaws.com,localhost"}


def test_the_proxy_reaches_buildkit_and_commands_as_arguments_that_docker_does_not_store(
    machine: Machine, order: Order
) -> None:
    asked = machine(docker="exit 0")
    assert start_buildkit(BUILDKIT, lambda _: None, proxies=PROXIES)
    build(order._replace(proxies=PROXIES), lambda _: None, with_buildkit=True)
    create, built = asked()
    assert create.endswith(
        '--driver-opt "env.HTTPS_PROXY=http://proxy.example.com:3128" '
        '--driver-opt "env.NO_PROXY=.amazonaws.com,localhost"'
    )
    given = {word.partition("=")[0] for word in built.split() if "_proxy=" in word.lower()}
    assert given == {"HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"}
    assert "ARG" not in order.text


def test_without_a_proxy_there_is_no_argument(machine: Machine, order: Order) -> None:
    asked = machine(docker="exit 0")
    assert start_buildkit(BUILDKIT, lambda _: None)
    build(order, lambda _: None, with_buildkit=True)
    assert "_proxy=" not in "".join(asked()).lower()
