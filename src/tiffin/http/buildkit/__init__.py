"""BuildKit as `docker build` and `docker buildx` speak it: builds driven over gRPC on hijacked connections.

    POST /session   the client serves: its directories, secrets, ssh agents, credentials     sessions, callers, filesync
    POST /grpc      we serve: Control (what becomes of a build), LLBBridge (the build itself)   control, bridge, jobs

One build is one Job. `docker build` calls Control.Solve, which blocks, and meanwhile drives the build through
LLBBridge.Solve and .Return; `tiffin build` gives Control.Solve the frontend's name, and needs no bridge. Both end in
`frontend`, which reads the Dockerfile from the client and gives the engine a BuildRequest, and in `exporters`.

Nothing of this is imported before the first client that wants to build.
"""
