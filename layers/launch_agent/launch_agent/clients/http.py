"""HTTP with urllib3, through the company's proxy and with its certificate authority if the stack has them."""

from functools import cached_property
from pathlib import Path
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

CA_FILE = Path(__file__).parents[2] / "ca.pem"
"""The certificate authority of the W&B server, if the layer brings one."""


class Http:
    """Pools of connections, directly and through the proxy."""

    def __init__(self, *, ca_file: Path = CA_FILE, **options: Any) -> None:
        """`options` are those of a pool. Nothing is sent yet."""
        self._ca_file, self._options = ca_file, options

    def request(self, method: str, url: str, **how: Any) -> urllib3.BaseHTTPResponse:
        """Send a request. Raises urllib3's errors."""
        return self._pool_for(url).request(method, url, **how)

    def _pool_for(self, url: str) -> urllib3.PoolManager:
        """Return the pool for an address. urllib3 itself ignores HTTPS_PROXY and NO_PROXY."""
        host = urlsplit(url)
        proxy = getproxies().get("https") if host.scheme == "https" else None
        return self._through_proxy if proxy and not proxy_bypass(host.netloc) else self._direct

    @cached_property
    def _direct(self) -> urllib3.PoolManager:
        return urllib3.PoolManager(**self._with_authority)

    @cached_property
    def _through_proxy(self) -> urllib3.PoolManager:
        return urllib3.ProxyManager(getproxies()["https"], **self._with_authority)

    @cached_property
    def _with_authority(self) -> dict[str, Any]:
        if not self._ca_file.is_file():
            return self._options
        context: SSLContext = urllib3.util.create_urllib3_context()
        context.load_default_certs()
        context.load_verify_locations(self._ca_file)
        return {**self._options, "ssl_context": context}
