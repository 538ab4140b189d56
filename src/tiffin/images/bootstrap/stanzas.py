"""Control files: stanzas of `Field: value`, values continued on lines that begin with a space (deb822(5))."""

from collections.abc import Iterator

from tiffin.errors import Invalid


def fields(stanza: str) -> dict[str, str]:
    """One stanza's fields, names in lower case. Continuation lines keep their newline. Raises Invalid."""
    found: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if not line or line.startswith("#"):
            continue
        if line[0] in " \t":
            if not name:
                raise Invalid(f"a control file begins with a continued line: {line[:60]!r}")
            found[name] += "\n" + line[1:]
            continue
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip():
            raise Invalid(f"a control file has a line that is no field: {line[:60]!r}")
        if name in found:
            raise Invalid(f"a control file has the field {name!r} twice")
        found[name] = value.strip()
    return found


def stanzas(text: str) -> Iterator[str]:
    """The stanzas of a file, as they stand."""
    for stanza in text.split("\n\n"):
        if stanza and not stanza.isspace():
            yield stanza.strip("\n")
