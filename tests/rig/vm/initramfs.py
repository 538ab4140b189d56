"""An initramfs of busybox, a few modules and an init: a newc archive, written here so that no cpio is needed."""

from __future__ import annotations

import gzip
import stat
from pathlib import Path

MODULES = (
    *(
        "virtio_pci",
        "virtiofs",
        "virtio_rng",
        "overlay",
        "loop",
        "tun",
        "veth",
        "bridge",
        "br_netfilter",
        "vxlan",
    ),
    *(
        "macvlan",
        "ipvlan",
        "nf_tables",
        "nf_nat",
        "nft_chain_nat",
        "nft_nat",
        "nft_masq",
        "nft_ct",
        "nft_redir",
        "nft_limit",
    ),
    *(
        "nft_reject_inet",
        "nft_fib_inet",
        "nft_compat",
        "nf_conntrack_netlink",
        "xt_nat",
        "xt_MASQUERADE",
        "xt_conntrack",
        "xt_addrtype",
        "fuse",
        "erofs",
    ),
)

# The command comes on the kernel's command line, its output and its status go to the serial line between marks.
INIT = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do insmod "$module" || echo "no $module"; done
mount -t virtiofs -o ro host /host
mount -t tmpfs tmpfs /over
mkdir /over/upper /over/work
mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work overlay /root
for name in proc sys dev; do mount --move /$name /root/$name; done
mount -t tmpfs tmpfs /root/run
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /root/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /root/dev/shm
mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /root/sys/fs/cgroup
mount -t bpf bpf /root/sys/fs/bpf
mount -t securityfs securityfs /root/sys/kernel/security
ip link set lo up
exec switch_root /root /bin/sh -c '
mount --make-rshared /
hostname throwaway
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
truncate -s 2G /run/disk
mkfs.ext4 -q -O ^has_journal -E nodiscard /run/disk
mount -o loop /run/disk /tmp
chmod 1777 /tmp
sed -n "s/.*command=\([^ ]*\).*/\1/p" /proc/cmdline | base64 -d > /run/command
echo "@@begin"
sh /run/command < /dev/null 2>&1
echo "@@end $?"
sync
echo o > /proc/sysrq-trigger
sleep 60'
"""


def build(target: Path, modules: list[Path]) -> None:
    """Write the initramfs, gzipped."""
    archive = Newc()
    for name in ("bin", "dev", "proc", "sys", "modules", "host", "over", "root"):
        archive.add(name, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    busybox = next(path for path in (Path("/bin/busybox"), Path("/usr/bin/busybox")) if path.exists())
    archive.add("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes())
    for number, module in enumerate(modules):
        archive.add(f"modules/{number:03d}-{module.name}", stat.S_IFREG | 0o644, module.read_bytes())
    archive.add("init", stat.S_IFREG | 0o755, INIT.encode())
    target.write_bytes(gzip.compress(archive.finish(), 1))


class Newc:
    """The cpio format `newc`, as Documentation/driver-api/early-userspace/buffer-format.rst has it."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._inode = 0

    def add(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        path = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        self._data += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        self._pad()
        self._data += data
        self._pad()

    def finish(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return bytes(self._data)

    def _pad(self) -> None:
        self._data += b"\0" * (-len(self._data) % 4)
