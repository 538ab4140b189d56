"""Shell completion: static scripts that ask the hidden `__complete` command for candidates."""

from __future__ import annotations

from tiffin.cli import registry
from tiffin.cli.command import Call, Command
from tiffin.errors import TiffinError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tiffin.cli.flags import Flag

_BASH = r"""# bash completion for tiffin
_tiffin() {
    local line words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    COMPREPLY=()
    # bash splits at colons and equals signs: ask with the words as the shell sees them
    while IFS=$'\t' read -r line _; do
        COMPREPLY+=("$line")
    done < <("${COMP_WORDS[0]}" __complete -- "${words[@]}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 0 ]]; then
        compopt -o default 2>/dev/null
    elif [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _tiffin tiffin
"""

_ZSH = r"""#compdef tiffin
_tiffin() {
    local -a candidates
    local value text
    while IFS=$'\t' read -r value text; do
        candidates+=("${value//:/\\:}:${text}")
    done < <("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( ${#candidates} )); then
        _describe 'tiffin' candidates
    else
        _files
    fi
}
if [ "$funcstack[1]" = "_tiffin" ]; then
    _tiffin
else
    compdef _tiffin tiffin
fi
"""

_FISH = r"""# fish completion for tiffin
function __tiffin_complete
    set -l words (commandline -opc)
    set -e words[1]
    tiffin __complete -- $words (commandline -ct) 2>/dev/null
end
complete -c tiffin -f -a '(__tiffin_complete)'
"""


def _names(call: Call, kind: str) -> list[str]:
    engine = call.engine
    if kind == "container":
        return [item["Names"][0].removeprefix("/") for item in engine.get("/containers/json", all=True)]
    if kind == "image":
        return [tag for item in engine.get("/images/json") for tag in item.get("RepoTags") or [] if "<none>" not in tag]
    if kind == "network":
        return [item["Name"] for item in engine.get("/networks")]
    if kind == "volume":
        return [item["Name"] for item in engine.get("/volumes").get("Volumes") or []]
    return ["default", *(item["Name"] for item in call.session.contexts.all())]


def operand_kind(path: str) -> str:
    """What the operands of a command name: container, image, network, volume, context; empty for anything else."""
    group, _, verb = path.partition(" ")
    if path in ("container run", "container create"):
        return "image"
    if verb in ("create", "ls", "prune", "import", "load", "pull", "df", "events", "info"):
        return ""
    return group if group in ("container", "image", "network", "volume", "context") else ""


def _flag_lines(flags: tuple[Flag, ...]) -> list[str]:
    return [f"--{flag.name}\t{flag.help.splitlines()[0]}" for flag in flags if not flag.hidden]


def candidates(call: Call, words: list[str]) -> list[str]:
    """Lines `word<TAB>what it is` for the last of `words`, which may be empty or half typed."""
    from tiffin.cli.main import global_flags, load

    *before, current = words or [""]
    plain = [word for word in before if not word.startswith("-")]
    found = registry.find(plain)
    if found is None:
        if current.startswith("-") and not plain:
            return _flag_lines(global_flags())
        if plain and plain[0] in registry.GROUPS:
            return [f"{name}\t{text}" for name, text in registry.members(plain[0])]
        if plain:
            return []
        return [f"{name}\t{registry.GROUPS.get(name) or registry.summary(name)}" for name in registry.top_level()]
    path, _, count = found
    command = load(path)
    if current.startswith("-"):
        return _flag_lines(command.flags)
    kind = operand_kind(path)
    if not kind or (path in ("container run", "container create", "container exec") and len(plain) > count):
        return []
    return [f"{name}\t{kind}" for name in _names(call, kind)]


def complete(call: Call) -> int:
    current = call.operands[-1] if call.operands else ""
    try:
        for line in candidates(call, call.operands):
            if line.startswith(current):
                call.say(line)
    except TiffinError:
        # no daemon, no candidates: the shell falls back to files
        return 1
    return 0


def _script(text: str) -> Callable[[Call], int]:
    def run(call: Call) -> int:
        call.session.out(text)
        return 0

    return run


COMMANDS = {
    "completion bash": Command("completion bash", _script(_BASH)),
    "completion fish": Command("completion fish", _script(_FISH)),
    "completion zsh": Command("completion zsh", _script(_ZSH)),
    "__complete": Command("__complete", complete, "", most=None, interspersed=False),
}
