"""The operations that build a container's file system, by file descriptor. Executed by the stage; raises OSError.

Every target is resolved beneath the root with openat2(IN_ROOT | NO_MAGICLINKS) and mounted on as a descriptor, so that
nothing in an image, and no process that renames things meanwhile, can lead a mount elsewhere (CVE-2021-30465).
"""

import errno
import os
import stat

from tiffin.linux import mounts, paths
from tiffin.linux.trees import copy_tree
from tiffin.runtime import detached, kernel_views
from tiffin.runtime.plan import Kind

Maps = tuple[bytes, bytes]
_EMPTY = b"source=tmpfs", b"nr_blocks=1", b"nr_inodes=1"
# What may be mounted inside procfs: files that lxcfs and its like provide.
_PROC_FILES = frozenset(
    b"proc/" + name
    for name in (
        *(b"cpuinfo", b"diskstats", b"meminfo", b"stat", b"swaps", b"uptime", b"loadavg", b"slabinfo"),
        *(b"sys/kernel/ns_last_pid", b"sys/crypto/fips_enabled"),
    )
)


class Root:
    """The root file system under construction."""

    def __init__(self, user: Maps | None = None) -> None:
        """user: the container's own uid and gid maps, for idmapped mounts that name none."""
        self.fd = self.proc = -1
        self.path, self.user, self.prepared = b"", user, dict[tuple[object, ...], int]()
        self.configured = dict[Kind, int]()  # file systems that are there already, see spare.py

    # -- before a user namespace is entered --------------------------------------------------------------------------

    def prepare(self, operation: tuple[object, ...]) -> None:
        """Make what needs the host's privileges: the root's mount, and copies of bind sources and devices."""
        name, tree = operation[0], -1
        if name == "propagation":
            flags: int = operation[1]  # type: ignore[assignment]
            self.spread = flags
        elif name == "rootfs":
            tree = self._detached_root(*operation[1:])  # type: ignore[arg-type]
        elif name == "mount" and operation[2] == b"bind":
            _, _, _, source, _, _, _, _, bind, _, _, idmap, idmap_recursive, _, follow, subpath = operation
            tree = detached.bound(source, subpath, recursive=bind == 2, follow=bool(follow))  # type: ignore[arg-type]
            if idmap is not None:
                self._idmap(tree, idmap, bool(idmap_recursive), source)  # type: ignore[arg-type]
        elif name == "device" and os.path.exists(operation[1]):  # type: ignore[arg-type]
            tree = mounts.clone(mounts.AT_FDCWD, operation[1])  # type: ignore[arg-type]
        if tree >= 0:
            # as what is cloned later, from a mount namespace of which that operation was the first
            self._apply(tree, (0, 0), (0, 0), self.spread)
            self.prepared[operation] = tree

    def _detached_root(
        self,
        kind: bytes,
        source: bytes,
        at: bytes,
        options: tuple[bytes, ...],
        attributes: int,
        recursive: bool,
        idmap: Maps | None,
    ) -> int:
        if kind == b"bind":
            tree = mounts.clone(mounts.AT_FDCWD, source, recursive=recursive)
        else:
            named = (b"source=" + (source or kind), *options)
            tree = mounts.create(kind, detached.layered(named) if kind == b"overlay" else named)
        if attributes:
            mounts.set_attributes(tree, attributes)
        if idmap is not None:
            self._idmap(tree, idmap, recursive, source)
        return tree

    def _idmap(self, tree: int, maps: Maps, recursive: bool, source: bytes) -> None:
        try:
            detached.shift(tree, maps if maps != (b"", b"") else self.user or maps, recursive=recursive)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise OSError(errno.EINVAL, "its file system can't map owners (no idmapped mounts)", source) from error

    # -- the root ----------------------------------------------------------------------------------------------------

    def rootfs(self, *operation: object) -> None:
        """Attach the root on its empty directory, in the private mount namespace."""
        kind, _, at, options = operation[:4]
        tree = self.prepared.pop(("rootfs", *operation), -1)
        try:
            if tree < 0:
                tree = self._detached_root(*operation)  # type: ignore[arg-type]
        except OSError as error:
            if kind != b"overlay" or error.errno != errno.EINVAL:
                raise
            # Before 6.5 there is no lowerdir+: one page of options by the old call.
            mounts.mount(b"overlay", at, b"overlay", 0, b",".join(options))  # type: ignore[arg-type]
            tree = os.open(at, paths.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # type: ignore[arg-type]
        else:
            place = _reachable(at)  # type: ignore[arg-type]
            # A mount of its own below, private: pivot_root refuses a new root whose parent is shared.
            base = mounts.clone(place, recursive=True)
            mounts.set_attributes(base, 0, propagation=mounts.MS_PRIVATE)
            mounts.attach(base, place)
            mounts.attach(tree, base)
            os.close(place)
            os.close(base)
        self.fd, self.path = tree, at  # type: ignore[assignment]

    def pivot(self) -> None:
        """pivot_root(2) onto itself, then detach the old root, which lies on top."""
        old = os.open(b"/", paths.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchdir(self.fd)
        mounts.pivot_root(b".", b".")
        os.fchdir(old)
        # Slave first: the detaching must not travel to the host.
        mounts.mount(b"", b".", None, mounts.MS_SLAVE | mounts.MS_REC)
        mounts.umount(b".", mounts.MNT_DETACH)
        os.close(old)
        os.chdir(b"/")

    def move_root(self) -> None:
        """For an initial ramfs, which can't be pivoted away."""
        kernel_views.cover(self.path)
        os.fchdir(self.fd)
        mounts.mount(b".", b"/", None, mounts.MS_MOVE)
        os.chroot(b".")
        os.chdir(b"/")

    # -- mounts in it ------------------------------------------------------------------------------------------------

    def mount(
        self,
        target: bytes,
        kind: bytes,
        source: bytes,
        options: tuple[bytes, ...],
        attributes: tuple[int, int],
        recursive: tuple[int, int],
        propagation: int,
        bind: int,
        copy_up: bool,
        create: bytes,
        idmap: Maps | None,
        idmap_recursive: bool,
        ignore: tuple[int, ...],
        follow: bool,
        subpath: bytes,
    ) -> None:
        """Mount a file system, a bind, or change one that is there; see plan.mount."""
        if kind == b"remount":
            place = paths.open_in(self.fd, target)
            try:
                if options:
                    mounts.reconfigure(place, options)
                self._apply(place, attributes, recursive, propagation)
            finally:
                os.close(place)
            return
        prepared = ("mount", target, kind, source, options, attributes, recursive, propagation, bind, copy_up)
        tree = self.prepared.pop((*prepared, create, idmap, idmap_recursive, ignore, follow, subpath), -1)
        try:
            if tree >= 0:
                pass
            elif kind == b"bind":
                tree = detached.bound(source, subpath, recursive=bind == 2, follow=follow)
                if idmap is not None:
                    self._idmap(tree, idmap, idmap_recursive, source)
            elif (configured := self.configured.pop((kind, source, options), -1)) >= 0:
                tree = mounts.mounted(configured, kind)
            else:
                named = (b"source=" + source,) if source else ()
                tree = mounts.create(kind, (*named, *self._mode_of(target, kind, options), *options))
        except OSError as error:
            if error.errno in ignore:
                return
            raise
        place = self._place(target, tree, kind, create)
        try:
            if copy_up:
                _copy_up(place, tree)
            mounts.attach(tree, place)
            self._apply(tree, attributes, recursive, propagation)
        except OSError as error:
            if error.errno not in ignore:
                if error.errno == errno.EINVAL and not detached.alike(tree, place):  # what the kernel means by it:
                    error = OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                raise OSError(error.errno, error.strerror, target) from error
        finally:
            os.close(place)
            if kind == b"proc" and not options and not attributes[0] & mounts.MOUNT_ATTR_RDONLY:
                self.proc = tree  # for sysctls; one made for them would be taken down again, which waits for RCU
            else:
                os.close(tree)

    def _apply(self, tree: int, attributes: tuple[int, int], recursive: tuple[int, int], propagation: int) -> None:
        if any(attributes):
            mounts.set_attributes(tree, *attributes)
        if any(recursive):
            mounts.set_attributes(tree, *recursive, recursive=True)
        deep = bool(propagation & mounts.MS_REC)
        for kind in (mounts.MS_UNBINDABLE, mounts.MS_PRIVATE, mounts.MS_SLAVE, mounts.MS_SHARED):
            if propagation & kind:
                mounts.set_attributes(tree, 0, propagation=kind, recursive=deep)

    def _mode_of(self, target: bytes, kind: bytes, options: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """A tmpfs takes the mode of the directory that it hides, as runc has it; 1777 where there was none."""
        if kind != b"tmpfs" or any(option.startswith(b"mode=") for option in options):
            return ()
        try:
            hidden = paths.open_in(self.fd, b"/".join(paths.normal(target)))
        except OSError:
            return ()
        try:
            return (b"mode=%o" % (os.fstat(hidden).st_mode & 0o7777),)
        finally:
            os.close(hidden)

    def _place(self, target: bytes, tree: int, kind: bytes, create: bytes) -> int:
        """The descriptor to mount on, made if missing."""
        parts = paths.normal(target)
        if kind in (b"proc", b"sysfs"):
            # An image that puts a symbolic link there would have everything below it go elsewhere (CVE-2019-19921).
            parent, _ = paths.ensure_directories(self.fd, parts[:-1])
            try:
                place, _ = paths.ensure_directories(parent, ()) if not parts else _plain_directory(parent, parts[-1])
            finally:
                os.close(parent)
            return place
        want_directory = paths.is_directory(tree) if create in (b"source", b"directory") else False
        if create == b"":
            place = paths.open_in(self.fd, b"/".join(parts))
        elif want_directory:
            place = paths.ensure_directories(self.fd, parts)[0]
        else:
            place = paths.ensure_file(self.fd, b"/".join(parts))
        if mounts.magic(place) == mounts.PROC_SUPER_MAGIC and not (
            parts == (b"proc",) or b"/".join(parts) in _PROC_FILES
        ):
            os.close(place)
            raise OSError(errno.EPERM, "cannot be mounted because it is inside /proc", target)
        return place

    def attributes(self, target: bytes, set_: int, clear: int, recursive: bool) -> None:
        """mount_setattr(2) on a mount inside."""
        place = paths.open_in(self.fd, target)
        try:
            mounts.set_attributes(place, set_, clear, recursive=recursive)
        finally:
            os.close(place)

    def mask(self, target: bytes) -> None:
        """Cover a path with /dev/null or an empty directory."""
        try:
            place = paths.open_in(self.fd, target)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            if paths.is_directory(place):
                cover = mounts.create(b"tmpfs", _EMPTY, mounts.MOUNT_ATTR_RDONLY)
            else:
                null = self._null()
                cover = mounts.clone(null)
                os.close(null)
            mounts.attach(cover, place)
            os.close(cover)
        finally:
            os.close(place)

    def _null(self) -> int:
        null = paths.open_beneath(self.fd, b"dev/null")
        status = os.fstat(null)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(1, 3):
            raise OSError(errno.EINVAL, "not the null device", b"/dev/null")
        return null

    def readonly(self, target: bytes) -> None:
        """Cover a path with a read-only copy of itself."""
        try:
            place = paths.open_in(self.fd, target)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            tree = mounts.clone(place, recursive=True)
            locked = (
                mounts.MOUNT_ATTR_RDONLY | mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV | mounts.MOUNT_ATTR_NOEXEC
                if mounts.magic(place) == mounts.PROC_SUPER_MAGIC
                else mounts.MOUNT_ATTR_RDONLY
            )
            mounts.set_attributes(tree, locked, recursive=True)
            mounts.attach(tree, place)
            os.close(tree)
        finally:
            os.close(place)

    # -- inodes in it ------------------------------------------------------------------------------------------------

    def _parent(self, target: bytes) -> tuple[int, bytes]:
        *parents, name = paths.normal(target)
        return paths.ensure_directories(self.fd, tuple(parents))[0], name

    def directory(self, target: bytes, mode: int, uid: int, gid: int) -> None:
        """See plan.directory."""
        place, made = paths.ensure_directory(self.fd, target)
        try:
            if made:
                os.chown(b"/proc/self/fd/%d" % place, uid, gid) if (uid, gid) != (0, 0) else None
                descriptor = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
                os.fchmod(descriptor, mode)
                os.close(descriptor)
        finally:
            os.close(place)

    def device(self, target: bytes, kind: bytes, major: int, minor: int, mode: int, uid: int, gid: int) -> None:
        """See plan.device."""
        parent, name = self._parent(target)
        tree = self.prepared.pop(("device", target, kind, major, minor, mode, uid, gid), -1)
        try:
            if tree >= 0:
                place = paths.ensure_file(parent, name)
                mounts.attach(tree, place)
                os.close(place)
                os.close(tree)
                return
            types = {b"c": stat.S_IFCHR, b"u": stat.S_IFCHR, b"b": stat.S_IFBLK, b"p": stat.S_IFIFO}
            try:
                os.unlink(name, dir_fd=parent)
            except FileNotFoundError:
                pass
            os.mknod(name, types[kind] | (mode & 0o7777), os.makedev(major, minor), dir_fd=parent)
            if (uid, gid) != (0, 0):
                os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)

    def symlink(self, target: bytes, content: bytes) -> None:
        """See plan.symlink."""
        parent, name = self._parent(target)
        try:
            os.symlink(content, name, dir_fd=parent)
        except FileExistsError:
            pass
        finally:
            os.close(parent)

    def file(self, target: bytes, data: bytes, mode: int, uid: int, gid: int) -> None:
        """See plan.file."""
        parent, name = self._parent(target)
        try:
            # never opened if it exists: an image may have a link, a FIFO or a device there
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            try:
                fd = os.open(name, flags, mode, dir_fd=parent)
            except FileExistsError:
                os.unlink(name, dir_fd=parent)
                fd = os.open(name, flags, mode, dir_fd=parent)
            try:
                os.fchmod(fd, mode)
                os.fchown(fd, uid, gid)
                os.write(fd, data)
            finally:
                os.close(fd)
        finally:
            os.close(parent)


def _reachable(at: bytes) -> int:
    """The directory to attach the root on; in this mount namespace any will do.

    And a mapped root may not reach `at`.
    """
    for candidate in (at, b"/mnt", b"/tmp", b"/var", b"/usr"):
        try:
            return os.open(candidate, paths.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            continue
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), at)


def _plain_directory(parent: int, name: bytes) -> tuple[int, bool]:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        pass
    flags = paths.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
    return paths.openat2(parent, name, flags, paths.BENEATH), False


def _copy_up(place: int, tree: int) -> None:
    """Copy what a directory holds into the tmpfs that will cover it."""
    source = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
    try:
        copy_tree(source, tree)
    finally:
        os.close(source)
