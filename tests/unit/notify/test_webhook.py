"""Where webhooks do not go."""

import pytest

from noctis.notify.webhook import is_link_local


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "168.63.129.16",
        "100.100.100.200",
        "fe80::1",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "::169.254.169.254",  # IPv4-compatible
        "64:ff9b::169.254.169.254",  # NAT64
        "64:ff9b:1::a9fe:a9fe",
        "2002:a9fe:a9fe::1",  # 6to4
    ],
)
def test_where_clouds_keep_credentials_whatever_way_it_is_written(address: str) -> None:
    assert is_link_local(address)


@pytest.mark.parametrize(
    "address", ["10.0.0.5", "192.168.1.1", "127.0.0.1", "::1", "fd12::1", "2001:db8::1", "64:ff9b::a00:5"]
)
def test_where_hospitals_have_their_systems(address: str) -> None:
    assert not is_link_local(address)
