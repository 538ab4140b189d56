"""The distribution protocol's serving side (OCI distribution specification 1.1).

Blocking, for worker threads, and free of HTTP: `http/distribution.py` is the front, `daemon/registry.py` puts it
together.

refusals       what is answered instead, with the specification's codes
names          repository names, tags, digests as they come in
targets        paths and ranges: what a request is about
manifests      what a manifest refers to
storage        where blobs and small documents lie: the Protocol
directory      …in a directory, an OCI image layout
buckets        …in an S3-compatible bucket
recent         what was touched lately, which no sweep removes
repositories   manifests, tags, blobs, referrers of repositories
uploads        blobs on their way in
upstream       the registry behind a pull-through cache
upstreams      which one a request is about, where there are several
downloads      blobs on their way from there, shared by those who wait
collection     what nothing refers to is removed, while the registry serves
rights         who may do what: a file of rules
tokens         bearer tokens, given and read
users          a file of passwords (htpasswd, bcrypt)
counters       figures for Prometheus
"""
