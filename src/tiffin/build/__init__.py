"""Dockerfiles, and the steps that a build of one consists of.

`dockerfile/` is the language (statements, words, instructions, ignore patterns, checks). The modules here turn it into
a graph. All of it is pure: bytes and values in, values out, no file, no network, no clock. What executes a graph is
another's:

    images = {}
    while isinstance(plan := plan_build(source, options, images), ImagesNeeded):
        for request in plan.requests:                         # side by side; progress shows request.label
            images[request] = ResolvedImage(config, digest)   # by request.reference and request.platform
    for digest, step in plan.steps.items():                   # inputs come before those that use them
        inputs = [keys.get(given) for given in step.inputs]   # None: an empty file system
        ...
    document = plan.image.document(diff_ids, created)         # the image's configuration

What the executor owes each step:

* `step.inputs` name other steps by digest. inputs[0] of MakeDirectory, CopyFiles and RunCommand is what they change;
  equal digests are the same work, so a step of two concurrent builds need run only once.
* The cache key is `cache_key(step, inputs, contents)`: the keys of its inputs, None for those that
  `content_inputs(step)` lists, and for each of these, in order, a digest of the files that it takes (their names,
  modes, owners and bytes, never times). Sources have no inputs: the key of a LocalSource is the content sent, of an
  ImageSource its digest, of a HttpSource and GitSource what was fetched (a checksum says it beforehand). `fresh`
  steps are run though cached.
* `key_parts` gives the same key in named parts, to keep beside a result; `first_difference` of two says what changed.
* Symlinks and `..` in CopyAction.source and mounts' sources stay inside their input; wildcards are `wildcards.match`.
* A RunCommand's environment is complete but for HOME, the proxies of `settings`, and secrets with `env`.
* A history entry that is not `empty` stands for a layer: MakeDirectory, CopyFiles (or its Merge), RunCommand, in order.

Errors are `dockerfile.source.DockerfileError`: `str()` is BuildKit's message, `excerpt(source, error.spans)` the lines.
"""

from tiffin.build.dockerfile.source import DockerfileError, excerpt
from tiffin.build.keys import cache_key, content_inputs, first_difference, key_parts, step_digest
from tiffin.build.options import BuildOptions, ImageRequest, ResolvedImage
from tiffin.build.plan import BuildPlan, ImagesNeeded, check_build, plan_build

__all__ = [
    "BuildOptions",
    "BuildPlan",
    "DockerfileError",
    "ImageRequest",
    "ImagesNeeded",
    "ResolvedImage",
    "cache_key",
    "check_build",
    "content_inputs",
    "excerpt",
    "first_difference",
    "key_parts",
    "plan_build",
    "step_digest",
]
