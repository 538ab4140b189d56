"""The distribution protocol (OCI distribution specification 1.1, Docker Registry HTTP API V2).

Blocking, for worker threads; `http.client` below, imported with the first request. From the bottom up:

failures       what registries refuse, in docker's words
cancellation   ends a request from another thread
tls            certificates, certs.d
hosts          where a registry is reached: mirrors, insecure registries, Docker Hub's several names
transport      one HTTP exchange over pooled connections
credentials    user names, passwords, tokens as clients hand them over
authorization  challenges answered: basic, bearer
session        requests with authorization, redirects, retries
repository     manifests, tags and blobs of one repository
referrers      what refers to a manifest, listed and published
uploads        blobs sent: monolithic, in chunks, mounted
access         the way in: a repository for a reference, login

server/        the other side: what `tiffin registry serve` does
"""
