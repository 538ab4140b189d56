"""RUN for another platform than this machine's: the kernel runs it where binfmt_misc knows an interpreter."""

from tiffin.errors import Invalid
from tiffin.model.platform import Platform, host_platform, same_architecture

_REFUSED = "exec format error"


def explained(error: Exception, platform: Platform) -> Invalid:
    """Why a process did not start, with what helps where its platform is the reason."""
    text, host = str(error), host_platform()
    if _REFUSED not in text or same_architecture(host, platform):
        return Invalid(text)
    return Invalid(
        f"{text}: {platform} can't be run on this machine ({host}), as no interpreter for it is registered in "
        "/proc/sys/fs/binfmt_misc: install qemu-user-static, which registers them with flag F (Debian: apt install "
        "qemu-user-static binfmt-support), or have the step run here with FROM --platform=$BUILDPLATFORM"
    )
