"""User namespaces that exist for their maps alone: idmapped mounts take one. Raises OSError."""

import errno
import os

from tiffin.linux import namespaces


def user_namespace(uid_map: bytes, gid_map: bytes) -> int:
    """The fd of a new user namespace with these maps, which nobody lives in."""
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(go[1])
            namespaces.unshare(namespaces.CLONE_NEWUSER)
            # its number as the /proc that is mounted here has it: our own may be that of an inner pid namespace
            os.write(ready[1], os.readlink(b"/proc/self"))
            os.read(go[0], 1)
        finally:
            os._exit(0)
    os.close(ready[1])
    try:
        shown = os.read(ready[0], 20)
        if not shown:
            raise OSError(errno.EPERM, "no user namespace for an idmapped mount")
        for name, content in ((b"uid_map", uid_map), (b"gid_map", gid_map)):
            fd = os.open(b"/proc/%s/%s" % (shown, name), os.O_WRONLY | os.O_CLOEXEC)
            os.write(fd, content)
            os.close(fd)
        return namespaces.open_namespace(int(shown), namespaces.CLONE_NEWUSER)
    finally:
        for fd in (ready[0], *go):
            os.close(fd)
        os.waitpid(pid, 0)
