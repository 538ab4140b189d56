import pytest

from tiffin.linux import capabilities


def test_dockers_default_set_is_the_documented_mask():
    assert capabilities.bits(capabilities.DEFAULT) == 0xA80425FB


def test_names_and_bits_are_inverse():
    every = (1 << len(capabilities.NAMES)) - 1
    assert capabilities.bits(capabilities.names(every)) == every
    with pytest.raises(OSError):
        capabilities.bits(["CAP_NONE"])


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), (), 0xA80425FB),
        (("net_admin",), (), 0xA80425FB | 1 << 12),
        (("CAP_NET_ADMIN",), ("CHOWN",), (0xA80425FB | 1 << 12) & ~1),
        ((), ("all",), 0),
        (("chown",), ("ALL",), 1),
        (("ALL",), ("sys_admin",), 0xFF_FFFF_FFFF & ~(1 << 21)),
        (("chown",), ("chown",), 0xA80425FB),
    ],
)
def test_adding_and_dropping_is_dockers_arithmetic(add, drop, expected):
    assert capabilities.bits(capabilities.tweak(add, drop, available=0xFF_FFFF_FFFF)) == expected


def test_privileged_and_all_mean_what_the_daemon_has():
    available = 0x1FF_FEFF_FFFF
    assert capabilities.bits(capabilities.tweak(privileged=True, available=available)) == available
    assert capabilities.bits(capabilities.tweak(["ALL"], available=available)) == available


def test_an_unknown_capability_is_named_in_the_error():
    with pytest.raises(OSError, match="invalid capability"):
        capabilities.tweak(["frobnicate"])
