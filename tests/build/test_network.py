"""With this machine's kernel: a container behind Docker's bridge cannot reach the credentials; the builder can."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

# A machine in its own network namespace: a bridge with a container, Docker's chain, and the credentials' address.
MACHINE = """
set -e
mount -t tmpfs none /run && mkdir /run/netns
for name in container credentials; do ip netns add $name; done
ip link set lo up
ip link add docker0 type bridge && ip addr add 172.17.0.1/16 dev docker0 && ip link set docker0 up
ip link add v0 type veth peer name v1 netns container && ip link set v0 master docker0 up
ip -n container addr add 172.17.0.2/16 dev v1 && ip -n container link set v1 up
ip -n container route add default via 172.17.0.1
ip link add m0 type veth peer name m1 netns credentials && ip addr add 169.254.1.1/16 dev m0 && ip link set m0 up
ip -n credentials addr add 169.254.170.2/16 dev m1 && ip -n credentials link set m1 up
ip -n credentials route add 172.17.0.0/16 via 169.254.1.1
echo 1 > /proc/sys/net/ipv4/ip_forward
iptables -N DOCKER-USER && iptables -A FORWARD -j DOCKER-USER
for port in 80 53; do
  ip netns exec credentials python3 -m http.server $port --bind 169.254.170.2 > /dev/null 2>&1 &
done
reaches() {
  python3 -c "
import socket, time
for _ in range(20):
    try:
        socket.create_connection(('169.254.170.2', $1), timeout=2).close()
    except ConnectionRefusedError:
        time.sleep(0.1)  # the server begins, or a rule refuses
    else:
        print('yes')
        break
else:
    print('no')
"
}
export -f reaches
in_container() { ip netns exec container bash -c "reaches $1"; }
echo "before: $(in_container 80)"
"$PYTHON" -c "from launch_agent.builder.docker import keep_from_credentials; keep_from_credentials()"
echo "container: $(in_container 80), its name server: $(in_container 53), the builder: $(reaches 80)"
"""


def can_make_networks() -> bool:
    """Return whether this user can create networks and rules on this machine."""
    if os.geteuid() or not all(map(shutil.which, ("unshare", "ip", "iptables"))):
        return False
    tried = ["unshare", "--net", "--mount", "iptables", "-N", "TRIED"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_make_networks(), reason="needs root, iptables and network namespaces")
def test_a_container_reaches_no_credentials_and_the_builder_does() -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT / "layers/launch_agent")}
    # All started processes end with their process namespace.
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", MACHINE]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert finished.stdout.splitlines() == [
        "before: yes",
        "container: no, its name server: yes, the builder: yes",
    ], finished.stderr
