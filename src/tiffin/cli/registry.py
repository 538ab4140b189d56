"""Which commands there are, in which module each lives, and what they are called besides. Imports nothing."""

from __future__ import annotations

GROUPS = {
    "builder": "Manage builds",
    "completion": "Generate the autocompletion script for a shell",
    "container": "Manage containers",
    "context": "Manage contexts",
    "image": "Manage images",
    "manifest": "Manage manifests and lists of them, of several platforms, in registries",
    "network": "Manage networks",
    "registry": "Serve a registry of images",
    "system": "Manage tiffin",
    "volume": "Manage volumes",
}
QUIET_GROUPS = ("completion",)
COMMON = ("run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version", "info")

# path of the command: module below tiffin.cli, what it does
COMMANDS = {
    "builder build": ("build", "Build an image from a Dockerfile"),
    "builder debug": ("build_debug", "Open a shell in a step that failed"),
    "builder du": ("builder", "Show what builds keep"),
    "builder prune": ("builder", "Remove build cache"),
    "container attach": ("attach", "Attach this terminal's input, output and error streams to a running container"),
    "container commit": ("container_files", "Make an image of a container's changes"),
    "container cp": ("copy", "Copy files and folders between a container and this machine"),
    "container create": ("create", "Create a container without starting it"),
    "container diff": ("container_files", "List what changed in a container's file system"),
    "container exec": ("exec", "Execute a command in a running container"),
    "container export": ("container_files", "Write a container's file system as a tar archive"),
    "container inspect": ("inspect", "Show everything about one or more containers"),
    "container kill": ("lifecycle", "Kill one or more running containers"),
    "container logs": ("logs", "Fetch the logs of a container"),
    "container ls": ("container_list", "List containers"),
    "container pause": ("lifecycle", "Pause all processes within one or more containers"),
    "container port": ("container_facts", "List a container's port mappings, or one of them"),
    "container prune": ("prune", "Remove all stopped containers"),
    "container rename": ("lifecycle", "Rename a container"),
    "container restart": ("lifecycle", "Restart one or more containers"),
    "container rm": ("lifecycle", "Remove one or more containers"),
    "container run": ("run", "Create and run a new container from an image"),
    "container start": ("start", "Start one or more stopped containers"),
    "container stats": ("stats", "Show a live stream of what containers use"),
    "container stop": ("lifecycle", "Stop one or more running containers"),
    "container top": ("container_facts", "Show the running processes of a container"),
    "container unpause": ("lifecycle", "Unpause all processes within one or more containers"),
    "container update": ("update", "Change the limits of one or more containers"),
    "container wait": ("lifecycle", "Block until one or more containers stop, then print their exit codes"),
    "completion bash": ("completion", "Generate the autocompletion script for bash"),
    "completion fish": ("completion", "Generate the autocompletion script for fish"),
    "completion zsh": ("completion", "Generate the autocompletion script for zsh"),
    "context create": ("context", "Create a context"),
    "context export": ("context_files", "Export a context to a tar archive FILE or a tar stream on STDOUT."),
    "context import": ("context_files", "Import a context from a tar or zip file"),
    "context inspect": ("context", "Show everything about one or more contexts"),
    "context ls": ("context", "List contexts"),
    "context rm": ("context", "Remove one or more contexts"),
    "context show": ("context", "Print the name of the current context"),
    "context update": ("context", "Update a context"),
    "context use": ("context", "Make a context the current one"),
    "image bootstrap": ("image_bootstrap", "Compose an image from a distribution's signed packages"),
    "image build": ("build", "Build an image from a Dockerfile"),
    "image history": ("image_history", "Show the history of an image"),
    "image import": ("image_files", "Make an image of the contents of a tar archive"),
    "image inspect": ("inspect", "Show everything about one or more images"),
    "image layers": ("image_layers", "Show what each layer of an image adds, changes, hides and wastes"),
    "image load": ("image_files", "Load an image from a tar archive or STDIN"),
    "image ls": ("image_list", "List images"),
    "image prune": ("prune", "Remove unused images"),
    "image pull": ("transfer", "Download an image from a registry"),
    "image push": ("transfer", "Upload an image to a registry"),
    "image rm": ("image_files", "Remove one or more images"),
    "image save": ("image_files", "Save one or more images to a tar archive (streamed to STDOUT by default)"),
    "image tag": ("image_files", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    "inspect": ("inspect", "Show everything about any object"),
    "login": ("login", "Authenticate to a registry"),
    "logout": ("login", "Log out from a registry"),
    "manifest annotate": ("manifest", "Say more about a manifest of a local list: its platform"),
    "manifest create": ("manifest", "Create a local list of manifests, to be annotated and pushed"),
    "manifest inspect": ("manifest", "Show a manifest, or a list of manifests"),
    "manifest push": ("manifest", "Push a list of manifests to its repository"),
    "manifest rm": ("manifest", "Remove one or more local lists of manifests"),
    "network connect": ("network", "Connect a container to a network"),
    "network create": ("network", "Create a network"),
    "network disconnect": ("network", "Disconnect a container from a network"),
    "network inspect": ("inspect", "Show everything about one or more networks"),
    "network ls": ("network_list", "List networks"),
    "network prune": ("prune", "Remove all unused networks"),
    "network rm": ("network", "Remove one or more networks"),
    "registry gc": ("registry_serve", "Remove what nothing refers to from a registry's storage"),
    "registry serve": ("registry_serve", "Serve a registry of images"),
    "search": ("transfer", "Search a registry for images"),
    "system check": ("check", "Verify every blob, layer and record"),
    "system df": ("disk_usage", "Show what takes disk space"),
    "system dial-stdio": ("dial_stdio", "Connect standard input and output to the daemon"),
    "system events": ("events", "Show what happens, as it happens"),
    "system info": ("info", "Show facts about the daemon and its machine"),
    "system prune": ("prune", "Remove unused data"),
    "version": ("version", "Show the versions of client and daemon"),
    "volume copy": ("volume", "Make a volume with the files of another (tiffin's own)"),
    "volume create": ("volume", "Create a volume"),
    "volume export": ("volume", "Write a volume's files as a tar archive (tiffin's own)"),
    "volume import": ("volume", "Make a volume of the files of a tar archive (tiffin's own)"),
    "volume inspect": ("inspect", "Show everything about one or more volumes"),
    "volume ls": ("volume", "List volumes"),
    "volume prune": ("prune", "Remove unused local volumes"),
    "volume rename": ("volume", "Give a volume that no container uses another name (tiffin's own)"),
    "volume rm": ("volume", "Remove one or more volumes. A volume that a container uses can't be removed."),
    "volume update": ("volume", "Update a volume (cluster volumes only)"),
    "__complete": ("completion", "Candidates for a shell's completion"),
}
HIDDEN = ("__complete", "system dial-stdio")

# other paths of the same commands, in the order help lists them
ALIASES: dict[str, tuple[str, ...]] = (
    {
        "container ls": ("container ls", "container list", "container ps", "ps"),
        "container rm": ("container rm", "container remove", "rm"),
        "image ls": ("image ls", "image list", "images"),
        "image rm": ("image rm", "image remove", "rmi"),
        "image build": ("image build", "build", "builder build"),
        "network ls": ("network ls", "network list"),
        "network rm": ("network rm", "network remove"),
        "volume ls": ("volume ls", "volume list"),
        "volume rm": ("volume rm", "volume remove"),
        "context ls": ("context ls", "context list"),
        "context rm": ("context rm", "context remove"),
        "system events": ("system events", "events"),
        "system info": ("system info", "info"),
    }
    | {
        f"container {verb}": (f"container {verb}", verb)
        for verb in [
            "attach",
            "commit",
            "cp",
            "create",
            "diff",
            "exec",
            "export",
            "kill",
            "logs",
            "pause",
            "port",
            "rename",
            "restart",
            "run",
            "start",
            "stats",
            "stop",
            "top",
            "unpause",
            "update",
            "wait",
        ]
    }
    | {
        f"image {verb}": (f"image {verb}", verb)
        for verb in ["history", "import", "load", "pull", "push", "save", "tag"]
    }
)


def _paths() -> dict[str, str]:
    paths = {path: path for path in COMMANDS}
    for path, names in ALIASES.items():
        paths.update(dict.fromkeys(names, path))
    return paths


def find(words: list[str]) -> tuple[str, str, int] | None:
    """The command that `words` begin with: its own path, the path as typed, and how many words that took."""
    paths = _paths()
    for count in (2, 1):
        typed = " ".join(words[:count])
        if len(words) >= count and typed in paths:
            return paths[typed], typed, count
    return None


def summary(path: str) -> str:
    return COMMANDS[_paths().get(path, path)][1]


def aliases(path: str) -> tuple[str, ...]:
    return ALIASES.get(path, (path,))


def members(group: str) -> list[tuple[str, str]]:
    """`(name, summary)` of a group's commands."""
    return [
        (path.split(" ", 1)[1], text)
        for path, (_, text) in COMMANDS.items()
        if path.startswith(f"{group} ") and path not in HIDDEN
    ]


def top_level() -> list[str]:
    """Names that stand directly behind the program's."""
    names = {path.split(" ")[0] for path in _paths()}
    return sorted(name for name in names if name not in HIDDEN)
