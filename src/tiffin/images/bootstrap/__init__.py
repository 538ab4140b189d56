"""Images composed from a signed Debian or Ubuntu archive, without a registry.

    suites        what `debian:trixie` means: archives, components, whose keys
    signatures    who signed a Release, by the shipped keyrings or a given one
    release       the signed table of an archive's indices: dates and checksums
    packages      the index of packages; `versions`, `relations` and `stanzas` are its grammar
    closure       which packages an image needs
    downloads     fetched files, kept by checksum
    archive       all of that in its order: from signature to .deb
    deb, rootfs   .debs taken apart, and put together to a first root file system
    stages        in which order dpkg installs the packages within a container
    tidy          what of the outcome is kept, in a form that is the same each time

The use case is `tiffin.engine.bootstrap`.
"""
