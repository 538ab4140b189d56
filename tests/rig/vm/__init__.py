"""A throwaway machine with cgroup v2 only: qemu, Debian's cloud kernel, the root file system of this machine."""
