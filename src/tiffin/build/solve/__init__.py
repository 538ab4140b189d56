"""The solver: a plan's steps as a content-addressed graph, each run once and remembered.

    solved = await builds.solve(request, report)        # engine.builds: every step that the result needs, side by side
    try:
        exported = await builds.export(solved, names, report)
    finally:
        solved.release()

Here nobody knows images, containers or networks: base images and RUN come as the Protocols of `ports`.
"""
